"""What every lowering looks for in the traced graph: names, and the nodes of attention."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xopt.encoders.spec import SITES
from xopt.errors import BuildError

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "DISTANCES", "WEIGHTS", "WORDS", "WORDS_SITE", "array", "bias_of", "find_context",
    "find_inputs", "input_name", "linear_of", "linears",
]  # fmt: skip

LINEAR = re.compile(rf"^(layers\.\d+)\.({'|'.join(SITES)})\.weight$")
# The file in which they lie, beside the graph.
WEIGHTS = "weights.bin"
WORDS = "embeddings.word.weight"
# What its rows are called among the sites.
WORDS_SITE = "embeddings"
# A layer's vectors of distances.
DISTANCES = re.compile(r"^layers\.\d+\.(c2p|p2c)\.weight$")


def input_name(node: ir.Node, number: int) -> str:
    """What a node's input is called; nothing where it has none."""
    value = node.inputs[number] if number < len(node.inputs) else None
    return "" if value is None else str(value.name)


def linear_of(node: ir.Node) -> tuple[str, str] | None:
    """``("layers.0", "qkv")`` of one of the encoder's linear layers; None of every other node."""
    found = LINEAR.match(input_name(node, 1))
    return (found.group(1), found.group(2)) if found else None


def linears(nodes: Iterable[ir.Node]) -> dict[tuple[str, str], ir.Node]:
    """Layer and name of each linear layer of the encoder -> its node."""
    return {linear: node for node in nodes if (linear := linear_of(node))}


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


def consumer(value: ir.Value, operator: str) -> ir.Node:
    """The one node that reads ``value``, which must be an ``operator``.

    Raises:
        BuildError: the graph has another form than this pass knows.
    """
    found = value.consumers()
    if len(found) != 1 or found[0].op_type != operator:
        kinds = [node.op_type for node in found]
        raise BuildError(f"{value.name} should be read by one {operator}, not by {kinds}.")
    return found[0]


@dataclass(frozen=True)
class AttentionInputs:
    """What lies between the joint projection and the products of attention.

    Attributes:
        pad_index: the gather's index.
        scale: of the scores, on the queries.
        outputs: scaled queries, keys and values, ``[B, heads, S, d]`` each.
    """

    pad_index: ir.Value | None
    scale: float
    outputs: tuple[ir.Value, ir.Value, ir.Value]


def find_inputs(projection: ir.Value) -> AttentionInputs:
    """What is behind a joint projection, up to the products.

    Gather → Reshape → Transpose → Split → 3 Squeeze, and Mul behind the queries.
    """
    gather = split = consumer(projection, "Gather")
    for kind in ("Reshape", "Transpose", "Split"):
        split = consumer(split.outputs[0], kind)
    q, k, v = (consumer(part, "Squeeze").outputs[0] for part in split.outputs)
    scaled = consumer(q, "Mul")
    scale = float(array(scaled.inputs[1]))
    return AttentionInputs(gather.inputs[1], scale, (scaled.outputs[0], k, v))


def find_context(inputs: AttentionInputs) -> ir.Value:
    """What comes out of attention, ``[T, hidden]``."""
    consumer(inputs.outputs[1], "Transpose")
    found = inputs.outputs[0]
    for kind in ("MatMul", "Add", "Softmax", "MatMul", "Transpose", "Reshape", "Gather"):
        found = consumer(found, kind).outputs[0]
    return found
