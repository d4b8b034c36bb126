"""TensorRT's form of an encoder with rotary positions: GTE, jina-embeddings-v3, ModernBERT.

As :class:`~xopt.compile.lower_tensorrt.Lowerer` has it, but for what stands alone in the traced
graph and is one product here: queries, keys and values, and the two halves of a gated part. A
window of the text is a second mask, the same for every sentence, so one kernel serves both kinds of
layers. The products of attention are fp16.
"""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.compile.lower_tensorrt import Lowerer
from xopt.compile.traced import linear_of
from xopt.errors import BuildError

__all__ = ["RotaryLowerer"]

COSINES = re.compile(r"^rotary\.(\d+)\.cos$")

Array = NDArray[np.float32]


class RotaryLowerer(Lowerer):
    """Lowers node after node; see :func:`~xopt.compile.lower_tensorrt.lower_tensorrt`."""

    @cached_property
    def linears(self) -> dict[tuple[str, str], onnx.NodeProto]:
        """Layer and name of each linear layer of the encoder -> its node."""
        found = ((linear_of(node), node) for node in self.editor.source)
        return {linear: node for linear, node in found if linear is not None}

    @cached_property
    def turns(self) -> dict[str, str]:
        """Values that are the cosines of a batch -> the number of their table."""
        found: dict[str, str] = {}
        for node in self.editor.source:
            table = COSINES.match(node.input[0]) if node.input else None
            if node.op_type == "Gather" and table:
                found[node.output[0]] = table[1]
            elif node.op_type in ("Unsqueeze", "Reshape") and node.input[0] in found:
                found[node.output[0]] = found[node.input[0]]
        return found

    def lower(self, node: onnx.NodeProto) -> None:
        """Emit what stands for ``node``."""
        layer, linear = linear_of(node) or ("", "")
        if linear == "q":
            self.rotated(node, layer)
        elif linear == "ffn_in" and (layer, "ffn_gate") in self.linears:
            self.gated(node, layer)
        elif linear not in ("k", "v", "ffn_gate"):
            super().lower(node)

    def gated(self, node: onnx.NodeProto, layer: str) -> None:
        """Both halves of a gated part as one product."""
        nodes = [node, self.linears[layer, "ffn_gate"]]
        out = f"{layer}.ffn_in"
        weight, bias = self.joined(nodes)
        source, middle = node.input[0], None
        if self.int8:
            source, weight, middle = self.quantized(source, out, weight)
        self.product(source, out, weight, bias, out, middle)
        sizes = self.editor.constant("ffn.sizes", np.array([len(weight) // 2] * 2, np.int64))
        self.editor.emit_all("Split", [out, sizes], [n.output[0] for n in nodes], axis=-1)

    def rotated(self, node: onnx.NodeProto, layer: str) -> None:
        """The projections and all that follows them, up to the context ``[T, hidden]``."""
        nodes = [self.linears[layer, part] for part in "qkv"]
        context = self.linears[layer, "attention_output"].input[0]
        turn, windowed = self._drop_between(nodes, context)
        hidden, heads = self.facts["hidden"], self.facts["heads"]
        width = self.editor.weights[node.input[1]].shape[0] // heads
        factors = np.ones(3 * heads * width, np.float32)
        factors[: heads * width] = width**-0.5
        out = self.project(nodes, layer, factors)
        emit, constant = self.editor.emit, self.editor.constant
        parts = [f"{layer}.{part}" for part in "qkv"]
        sizes = constant("qkv.sizes", np.array([hidden] * 3, np.int64))
        self.editor.emit_all("Split", [out, sizes], parts, axis=-1)
        shape = constant("rows.heads", np.array([0, heads, width], np.int64))
        split = [emit("Reshape", [part, shape], part + ".split") for part in parts]
        split[:2] = [self._turned(part, turn) for part in split[:2]]
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        q, k, v = (
            emit("Transpose", [emit("GatherND", [rows, "pad_index"], rows + ".padded")],
                 rows + ".heads", perm=order)
            for rows, order in zip(split, orders, strict=True)
        )  # fmt: skip
        self.mixed(layer, q, k, v, self._mask(windowed), context)

    def _drop_between(self, nodes: list[onnx.NodeProto], context: str) -> tuple[str, bool]:
        """Leave out what leads from the projections to the context.

        Returns:
            The number of the table of angles, and whether only a window of the text is seen.
        """
        names = [node.output[0] for node in nodes]
        turn, windowed = "", False
        while names:
            for node in self.editor.readers(names.pop()):
                turn = next((self.turns[n] for n in node.input if n in self.turns), turn)
                windowed |= "window_bias" in node.input
                if node.output[0] not in self.editor.dropped and linear_of(node) is None:
                    self.editor.drop(node)
                    names += [] if node.output[0] == context else node.output
        if not turn or context not in self.editor.dropped:
            raise BuildError("The traced attention has no rotary positions before its context.")
        return turn, windowed

    def _turned(self, rows: str, table: str) -> str:
        """``[T, heads, d]`` rotated by each token's position; halves of a head are the pairs."""
        emit = self.editor.emit
        cosine, sine = (self._angles(table, kind) for kind in ("cos", "sin"))
        halves = [rows + ".first", rows + ".second"]
        self.editor.emit_all("Split", [rows], halves, axis=-1, num_outputs=2)
        first, second = halves
        ahead = emit("Mul", [first, cosine], first + ".cos")
        taken = emit("Mul", [second, sine], second + ".sin")
        behind = emit("Mul", [second, cosine], second + ".cos")
        added = emit("Mul", [first, sine], first + ".sin")
        parts = [
            emit("Sub", [ahead, taken], first + ".turned"),
            emit("Add", [behind, added], second + ".turned"),
        ]
        return emit("Concat", parts, rows + ".turned", axis=-1)

    def _angles(self, table: str, kind: str) -> str:
        """``[T, 1, d / 2]``: cosine or sine of each token's angles."""
        out = f"rotary.{table}.{kind}.rows"
        if any(out in node.output for node in self.editor.nodes):
            return out
        values = self.editor.array(f"rotary.{table}.{kind}")
        half = self.half(f"rotary.{table}.{kind}.half", values[:, None, : values.shape[1] // 2])
        return self.editor.emit("GatherND", [half, self.index("position_ids")], out)

    def _mask(self, windowed: bool) -> str:
        """What is added to the scores."""
        out = "attention_bias.window"
        if windowed and all(out not in node.output for node in self.editor.nodes):
            self.editor.emit("Add", ["attention_bias", "window_mask"], out)
        return out if windowed else "attention_bias"
