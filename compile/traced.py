"""What readers of the traced graph look for in it: names, and the numbers of constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["OPERATION", "WEIGHTS", "WORDS", "WORDS_SITE", "array", "bias_of"]

# The file in which they lie, beside the graph.
WEIGHTS = "weights.bin"
# What a node's note calls the operation of the plan that it computes with the weight of.
OPERATION = "xopt.operation"
WORDS = "embeddings.word.weight"
# What its rows are called among the sites.
WORDS_SITE = "embeddings"


def array(value: ir.Value | None) -> NDArray[np.float32]:
    """A constant, in fp32."""
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float32)


def bias_of(node: ir.Node) -> NDArray[np.float32]:
    """``[out]``; the exporter drops a bias that is all zeros."""
    if len(node.inputs) > 2:
        return array(node.inputs[2])
    return np.zeros(len(array(node.inputs[1])), np.float32)
