"""The heads in TensorRT's form: fp16 inside, the answer in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from xopt.compile.editing import GraphEditor

__all__ = ["emit_head", "mean_over_slots"]

Array = NDArray[np.float32]


class HeadParts(Protocol):
    """What the lowering gives to its head."""

    def half(self, name: str, values: Array) -> str:
        """A constant in fp16."""
        ...

    def weight_and_bias(self, node: onnx.NodeProto) -> tuple[Array, Array]:
        """``[out, in]`` and ``[out]`` of a Gemm."""
        ...

    def mean(self, hidden: str) -> str:
        """``[B, hidden]`` fp32: the mean over a sentence's tokens."""
        ...


def emit_head(
    editor: GraphEditor,
    hidden: str,
    layers: Sequence[onnx.NodeProto],
    facts: Mapping[str, Any],
    lowerer: HeadParts,
) -> None:
    """The head over ``[T, hidden]``.

    Args:
        editor: over the traced graph.
        hidden: the encoder's last output.
        layers: the head's linear layers, a tanh between each two.
        facts: ``head`` and ``output`` of the graph's manifest.
        lowerer: the lowering.
    """
    kind = facts["head"]["kind"]
    if kind == "embed" and facts["head"]["pooling"] == "mean":
        hidden = lowerer.mean(hidden)
    elif kind in ("classify", "embed"):
        hidden = editor.emit("GatherND", [hidden, "first_index"], "head.first")
    for number, node in enumerate(layers):
        if number:
            hidden = editor.emit("Tanh", [hidden], "head.tanh")
        weight, bias = lowerer.weight_and_bias(node)
        name = node.input[1]
        values = lowerer.half(name + ".fp16", np.ascontiguousarray(weight.T))
        exact = editor.emit("MatMul", [hidden, values], name + ".product")
        shift = lowerer.half(name + ".bias", bias)
        hidden = editor.emit("Add", [exact, shift], name + ".out")
    editor.emit("Cast", [hidden], facts["output"], to=TensorProto.FLOAT)


def mean_over_slots(editor: GraphEditor, hidden: str) -> str:
    """``[B, hidden]`` fp32: the mean over a sentence's tokens, summed in fp32."""
    emit, constant = editor.emit, editor.constant
    middle = constant("axes.middle", np.array([1, 2], np.int64))
    last = constant("axis.last", np.array([-1], np.int64))
    over = constant("axis.slots", np.array([1], np.int64))
    zero = constant("zero.fp16", np.array(0, np.float16))
    bias = emit("Squeeze", ["attention_bias", middle], "head.bias")
    real = emit("GreaterOrEqual", [bias, zero], "head.real")
    real = emit("Cast", [real], "head.counted", to=TensorProto.FLOAT)
    counted = emit("Unsqueeze", [real, last], "head.weights")
    rows = emit("GatherND", [hidden, "pad_index"], "head.padded")
    rows = emit("Cast", [rows], "head.rows", to=TensorProto.FLOAT)
    rows = emit("Mul", [rows, counted], "head.kept")
    total = emit("ReduceSum", [rows, over], "head.sum", keepdims=0)
    length = emit("ReduceSum", [real, over], "head.length", keepdims=1)
    return emit("Div", [total, length], "head.mean")
