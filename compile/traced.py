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
    "DISTANCES", "WORDS", "WORDS_SITE", "AttentionChain", "bias_of", "drop_attention", "linear_of",
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
class AttentionChain:
    """What is left of the traced attention: the scale's name, and the context's."""

    scale: str
    context: str


def drop_attention(editor: GraphEditor, projection: str) -> AttentionChain:
    """Leave out everything from the gather behind the joint projection to the context."""
    gather = editor.consumer(projection, "Gather")
    reshape = editor.consumer(gather.output[0], "Reshape")
    transpose = editor.consumer(reshape.output[0], "Transpose")
    split = editor.consumer(transpose.output[0], "Split")
    q, k, v = (editor.consumer(name, "Squeeze") for name in split.output)
    scaled = editor.consumer(q.output[0], "Mul")
    turned = editor.consumer(k.output[0], "Transpose")
    dropped = [gather, reshape, transpose, split, q, k, v, scaled, turned]
    last = scaled
    for kind in ("MatMul", "Add", "Softmax", "MatMul", "Transpose", "Reshape", "Gather"):
        last = editor.consumer(last.output[0], kind)
        dropped.append(last)
    for node in dropped:
        editor.drop(node)
    return AttentionChain(scaled.input[1], last.output[0])
