"""Keys and values without their mean before they are quantized: ``softmax(Q·Kᵀ)·V`` is the same.

The mean of the keys adds the same number to all scores of a query, which softmax does not see. The
mean of the values comes out as it went in, because probabilities add up to one, so the layer behind
attention takes it into its bias (SageAttention, Zhang et al., 2024, and SageAttention2, 2025). What
is left has a smaller range, and rounded probabilities, which add up to less than one, no longer
lose a part of the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.sites import Site
from xopt.compile.traced import array, bias_of, input_name, linears

if TYPE_CHECKING:
    from xopt.compile.editing import GraphEditor

__all__ = ["center_attention", "centered_biases"]

Array = NDArray[np.float32]


def centered_biases(
    layer: str, sites: Mapping[str, Site], qkv: Array, output: Array, output_weight: Array
) -> tuple[Array, Array]:
    """The biases of a layer's projection and of the linear layer that reads its context.

    Args:
        layer: such as ``layers.0``.
        sites: of the whole encoder.
        qkv: ``[3 · hidden]``, bias of the joint projection.
        output: ``[hidden]``, bias behind attention.
        output_weight: ``[hidden, hidden]``, of the same layer.
    """
    key, value = sites[f"{layer}.k"].middle, sites[f"{layer}.v"].middle
    assert key is not None
    assert value is not None
    moved = np.concatenate([np.zeros_like(key), key, value])
    return (qkv - moved).astype(np.float32), (output + output_weight @ value).astype(np.float32)


def center_attention(editor: GraphEditor, sites: Mapping[str, Site]) -> None:
    """Change the biases of the traced graph; every lowering then finds them in its place."""
    nodes = linears(editor.source)
    for layer in dict.fromkeys(layer for layer, _ in nodes):
        qkv, output = nodes[layer, "qkv"], nodes[layer, "attention_output"]
        given = bias_of(qkv), bias_of(output), array(output.inputs[1])
        moved = centered_biases(layer, sites, *given)
        for node, bias in zip((qkv, output), moved, strict=True):
            name = input_name(node, 1).removesuffix("weight") + "bias.centered"
            editor.set_bias(node, name, bias)
