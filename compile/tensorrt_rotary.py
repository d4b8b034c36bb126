"""TensorRT's form of an encoder with rotary positions: GTE, jina-embeddings-v3, ModernBERT.

As :class:`~xopt.compile.lower_tensorrt.Lowerer` has it, but for what stands alone in the traced
graph and is one product here: queries, keys and values, and the two halves of a gated part. A
window of the text is a second mask, the same for every sentence, so one kernel serves both kinds of
layers. The products of attention are fp16.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.compile.lower_tensorrt import Lowerer
from xopt.compile.traced import array, input_name, linear_of, linears
from xopt.errors import BuildError

__all__ = ["RotaryLowerer"]

COSINES = re.compile(r"^rotary\.(\d+)\.cos$")

Array = NDArray[np.float32]


class RotaryLowerer(Lowerer):
    """Lowers node after node; see :func:`~xopt.compile.lower_tensorrt.lower_tensorrt`."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.linears = linears(self.editor.source)
        # Values that are the cosines of a batch, by name -> the number of their table.
        self.turns: dict[str, str] = {}
        for node in self.editor.source:
            source, [out, *_] = input_name(node, 0), node.outputs
            table = COSINES.match(source)
            if node.op_type == "Gather" and table:
                self.turns[str(out.name)] = table[1]
            elif node.op_type in ("Unsqueeze", "Reshape") and source in self.turns:
                self.turns[str(out.name)] = self.turns[source]

    def lower(self, node: ir.Node) -> None:
        """Emit what stands for ``node``."""
        layer, linear = linear_of(node) or ("", "")
        if linear == "q":
            self.rotated(node, layer)
        elif linear == "ffn_in" and (layer, "ffn_gate") in self.linears:
            self.gated(node, layer)
        elif linear not in ("k", "v", "ffn_gate"):
            super().lower(node)

    def gated(self, node: ir.Node, layer: str) -> None:
        """Both halves of a gated part as one product."""
        nodes = [node, self.linears[layer, "ffn_gate"]]
        out = f"{layer}.ffn_in"
        weight, bias = self.joined(nodes)
        source, middle = node.inputs[0], None
        if self.int8:
            source, weight, middle = self.quantized(source, out, weight)
        both = self.product(source, out, weight, bias, out, middle)
        sizes = self.editor.constant("ffn.sizes", np.array([len(weight) // 2] * 2, np.int64))
        self.editor.emit_all("Split", [both, sizes], [n.outputs[0] for n in nodes], axis=-1)

    def rotated(self, node: ir.Node, layer: str) -> None:
        """The projections and all that follows them, up to the context ``[T, hidden]``."""
        nodes = [self.linears[layer, part] for part in "qkv"]
        [context] = self.linears[layer, "attention_output"].inputs[:1]
        assert context is not None
        turn, windowed = self._between(nodes, context)
        hidden, heads = self.facts["hidden"], self.facts["heads"]
        width = len(array(node.inputs[1])) // heads
        factors = np.ones(3 * heads * width, np.float32)
        factors[: heads * width] = width**-0.5
        out = self.project(nodes, layer, factors)
        emit, constant = self.editor.emit, self.editor.constant
        parts = [f"{layer}.{part}" for part in "qkv"]
        sizes = constant("qkv.sizes", np.array([hidden] * 3, np.int64))
        joint = self.editor.emit_all("Split", [out, sizes], parts, axis=-1)
        shape = constant("rows.heads", np.array([0, heads, width], np.int64))
        split = [emit("Reshape", [part, shape], f"{part.name}.split") for part in joint]
        split[:2] = [self._turned(part, turn) for part in split[:2]]
        index, orders = self.editor.input("pad_index"), ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        q, k, v = (
            emit("Transpose", [emit("GatherND", [rows, index], f"{rows.name}.padded")],
                 f"{rows.name}.heads", perm=order)
            for rows, order in zip(split, orders, strict=True)
        )  # fmt: skip
        self.mixed(layer, q, k, v, self._mask(windowed), context)

    def _between(self, nodes: Sequence[ir.Node], context: ir.Value) -> tuple[str, bool]:
        """What leads from the projections to the context.

        Returns:
            The number of the table of angles, and whether only a window of the text is seen.
        """
        seen = list(nodes)
        for node in seen:
            if node is not context.producer():
                seen += [reader for reader in node.successors() if reader not in seen]
        read = {input_name(node, number) for node in seen for number in range(len(node.inputs))}
        turns = {self.turns[name] for name in read if name in self.turns}
        if len(turns) != 1 or context.producer() not in seen:
            raise BuildError("The traced attention has no rotary positions before its context.")
        return turns.pop(), "window_bias" in read

    def _turned(self, rows: ir.Value, table: str) -> ir.Value:
        """``[T, heads, d]`` rotated by each token's position; halves of a head are the pairs."""
        emit = self.editor.emit
        cosine, sine = (self._angles(table, kind) for kind in ("cos", "sin"))
        one, two = halves = [f"{rows.name}.first", f"{rows.name}.second"]
        first, second = self.editor.emit_all("Split", [rows], halves, axis=-1, num_outputs=2)
        ahead = emit("Mul", [first, cosine], one + ".cos")
        taken = emit("Mul", [second, sine], two + ".sin")
        behind = emit("Mul", [second, cosine], two + ".cos")
        added = emit("Mul", [first, sine], one + ".sin")
        parts = [
            emit("Sub", [ahead, taken], one + ".turned"),
            emit("Add", [behind, added], two + ".turned"),
        ]
        return emit("Concat", parts, f"{rows.name}.turned", axis=-1)

    def _angles(self, table: str, kind: str) -> ir.Value:
        """``[T, 1, d / 2]``: cosine or sine of each token's angles."""
        name = f"rotary.{table}.{kind}"
        if name not in self.once:
            values = array(self.editor.weights[name])
            half = self.half(f"{name}.half", values[:, None, : values.shape[1] // 2])
            given = [half, self.index("position_ids")]
            self.once[name] = self.editor.emit("GatherND", given, f"{name}.rows")
        return self.once[name]

    def _mask(self, windowed: bool) -> ir.Value:
        """What is added to the scores."""
        mask, name = self.editor.input("attention_bias"), "attention_bias.window"
        if windowed and name not in self.once:
            window = self.editor.input("window_mask")
            self.once[name] = self.editor.emit("Add", [mask, window], name)
        return self.once[name] if windowed else mask
