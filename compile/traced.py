"""What every lowering looks for in the traced graph: names, and the nodes of attention."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.compile.editing import GraphEditor
from xopt.encoders.spec import SITES

__all__ = [
    "DISTANCES", "WORDS", "WORDS_SITE", "bias_of", "drop_attention", "drop_inputs", "linear_of",
]  # fmt: skip

LINEAR = re.compile(rf"^(layers\.\d+)\.({'|'.join(SITES)})\.weight$")
WORDS = "embeddings.word.weight"
# What its rows are called among the sites.
WORDS_SITE = "embeddings"
# A layer's vectors of distances.
DISTANCES = re.compile(r"^layers\.\d+\.(c2p|p2c)\.weight$")


def linear_of(node: onnx.NodeProto) -> tuple[str, str] | None:
    """``("layers.0", "qkv")`` of one of the encoder's linear layers; None of every other node."""
    found = LINEAR.match(node.input[1]) if len(node.input) > 1 else None
    return (found.group(1), found.group(2)) if found else None


def bias_of(editor: GraphEditor, node: onnx.NodeProto) -> NDArray[np.float32]:
    """``[out]``; the exporter drops a bias that is all zeros."""
    if len(node.input) > 2:
        return editor.array(node.input[2])
    return np.zeros(editor.weights[node.input[1]].shape[0], np.float32)


@dataclass(frozen=True)
class AttentionInputs:
    """What lies between the joint projection and the products of attention.

    Attributes:
        pad_index: the gather's index.
        scale: of the scores, on the queries.
        outputs: names of scaled queries, keys and values, ``[B, heads, S, d]`` each.
    """

    pad_index: str
    scale: float
    outputs: tuple[str, str, str]


def drop_inputs(editor: GraphEditor, projection: str) -> AttentionInputs:
    """Leave out what is behind a joint projection, up to the products.

    Gather → Reshape → Transpose → Split → 3 Squeeze, and Mul behind the queries.
    """
    gather = editor.consumer(projection, "Gather")
    reshape = editor.consumer(gather.output[0], "Reshape")
    transpose = editor.consumer(reshape.output[0], "Transpose")
    split = editor.consumer(transpose.output[0], "Split")
    q, k, v = (editor.consumer(name, "Squeeze") for name in split.output)
    scaled = editor.consumer(q.output[0], "Mul")
    for node in (gather, reshape, transpose, split, q, k, v, scaled):
        editor.drop(node)
    scale = float(np.asarray(editor.weights[scaled.input[1]]))
    outputs = (scaled.output[0], k.output[0], v.output[0])
    return AttentionInputs(gather.input[1], scale, outputs)


def drop_attention(editor: GraphEditor, projection: str) -> tuple[float, str]:
    """Leave out everything from the joint projection to the context.

    Returns:
        The scale of the scores, and the name of the context.
    """
    inputs = drop_inputs(editor, projection)
    editor.drop(editor.consumer(inputs.outputs[1], "Transpose"))
    name = inputs.outputs[0]
    for kind in ("MatMul", "Add", "Softmax", "MatMul", "Transpose", "Reshape", "Gather"):
        node = editor.consumer(name, kind)
        editor.drop(node)
        name = node.output[0]
    return inputs.scale, name
