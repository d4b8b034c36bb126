"""What every lowering looks for in the traced graph: names, and the nodes of attention."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xopt.compile.editing import GraphEditor

__all__ = ["LINEAR", "READER", "SITE", "WORDS", "AttentionChain", "drop_attention"]

# The linear layer that reads each site.
READER = {
    "qkv_in": "qkv",
    "context": "attention_output",
    "ffn_in": "ffn_in",
    "ffn_act": "ffn_out",
}
SITE = {linear: site for site, linear in READER.items()}
LINEAR = re.compile(r"^(layers\.\d+)\.(qkv|attention_output|ffn_in|ffn_out)\.weight$")
WORDS = "embeddings.word.weight"


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
