"""Graph → the form that TensorRT fuses: fp16 throughout, INT8 where a site is quantized.

Every choice here is one that decides which kernels TensorRT-RTX 1.7 takes, read from built engines:

* Linear layers: :mod:`~xopt.compile.tensorrt_linear`.
* GatherND with an index that is an input of its final shape; Gather becomes a scalar kernel.
* Q/DQ on q, k and v, on the probabilities and on the attention's output, in primitive operators:
  what becomes one INT8 attention kernel.
* T, B and S as the only names of dynamic axes: unless the mask's are the index's, nothing fuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.quantize import in_half
from xopt.compile.recipes import Lowering
from xopt.compile.tensorrt_head import emit_head, pool_slots
from xopt.compile.tensorrt_inputs import declare
from xopt.compile.tensorrt_linear import Array, LinearLowerer
from xopt.compile.traced import WORDS, array, find_context, find_inputs, input_name, linear_of

__all__ = ["Lowerer", "lower_tensorrt"]

IDS = ("input_ids", "position_ids", "token_type_ids")


def lower_tensorrt(
    editor: GraphEditor,
    lowering: Lowering,
    sites: Mapping[str, Site],
    facts: Mapping[str, Any],
    lowerer: type[Lowerer],
) -> None:
    """Change the traced graph.

    Args:
        editor, lowering, sites, facts: as
            :class:`~xopt.compile.tensorrt_linear.LinearLowerer` takes them.
        lowerer: of this form of attention.

    Raises:
        UnsupportedError: a weight leaves the range of fp16, or all of it lies below its normal
            numbers; or a constant would be NaN or infinite.
        BuildError: the graph has another form than the tracer gives it.
    """
    work = lowerer(editor, lowering, sites, facts)
    for site in sites.values():
        # The scale of the scores makes queries smaller.
        if site.largest is not None and site.kind != "q":
            work.halves.check(f"{site.name} (a value in between)", np.array(site.largest))
    norms = [i for i, n in enumerate(editor.source) if n.op_type == "LayerNormalization"]
    # A LayerNorm of the head is none of the encoder's: two a layer, and the embeddings' own.
    end = norms[2 * facts["layers"]] + 1
    for node in editor.walk(editor.source[:end]):
        work.lower(node)
    emit_head(editor, editor.source[end - 1].outputs[0], editor.source[end:], facts, work)
    editor.finish()
    work.halves.tell()
    declare(editor, per_token=facts["head"]["kind"] in ("tag", "span"))


class Lowerer(LinearLowerer):
    """Lowers node after node."""

    def lower(self, node: ir.Node) -> None:
        """Emit what stands for ``node``."""
        linear = linear_of(node)
        if node.op_type == "Gather" and input_name(node, 1) in IDS:
            self.lookup(node)
        elif linear and linear[1] == "qkv":
            self.attention(node, linear[0])
        elif linear:
            self.linear(node, *linear)
        else:
            self.keep(node)

    def keep(self, node: ir.Node) -> None:
        """The node as it is, its weights in fp16."""
        for number, value in enumerate(node.inputs):
            if value and value.const_value and value.dtype == ir.DataType.FLOAT:
                node.replace_input_with(number, self.half(f"{value.name}.fp16", array(value)))

    def lookup(self, node: ir.Node) -> None:
        """``[T, hidden]``: one row of a table per token."""
        table, index, [out] = input_name(node, 0), self.index(input_name(node, 1)), node.outputs
        values = array(node.inputs[0])
        if table == WORDS:
            # In INT8 too: what a lookup gives is fp16.
            self.halves.check_rows(table, values)
        if table != WORDS or self.lowering.embeddings != "int8":
            self.editor.emit("GatherND", [self.half(table + ".fp16", values), index], out)
            return
        rows, scales = quantize_rows(values)
        # A row of zeros has no step, and must not make that of the others coarser.
        scales[~rows.any(axis=1)] = 0
        step = in_half(np.float32(scales.max()))
        # The largest number, which a step that was rounded up may have moved beyond fp16.
        self.halves.check(WORDS, np.array(127 * step))
        full = self._dequantized(self.editor.constant(WORDS + ".int8", rows), WORDS, step)
        exact = self.editor.emit("GatherND", [full, index], f"{out.name}.rows")
        ratio = (scales / step)[:, None]
        self.halves.check_rows(WORDS + "'s ratio", ratio)
        ratios = self.half(WORDS + ".ratio", ratio)
        factor = self.editor.emit("GatherND", [ratios, index], f"{out.name}.ratio")
        self.editor.emit("Mul", [exact, factor], out)

    def index(self, ids: str) -> ir.Value:
        """``[T, 1]``: ids as GatherND takes them."""
        if ids not in self.once:
            last = self.editor.constant("axis.last", np.array([-1], np.int64))
            given = [self.editor.input(ids), last]
            self.once[ids] = self.editor.emit("Unsqueeze", given, f"{ids}.index")
        return self.once[ids]

    def attention(self, node: ir.Node, layer: str) -> None:
        """The joint projection and all that follows it, up to the context ``[T, hidden]``.

        The scale of the scores goes into the query's rows, and SmoothQuant's divisor of the context
        into the value's: a context is a mean of values, so its channels shrink with theirs, and
        nothing stands between the attention kernel and its quantization.
        """
        inputs = find_inputs(node.outputs[0])
        hidden, heads = self.facts["hidden"], self.facts["heads"]
        factors = np.ones(3 * hidden, np.float32)
        factors[:hidden] = inputs.scale
        out = self.project([node], layer, factors)
        parts = [f"{layer}.{part}" for part in "qkv"]
        sizes = self.editor.constant("qkv.sizes", np.array([hidden] * 3, np.int64))
        rows = self.editor.emit_all("Split", [out, sizes], parts, axis=-1)
        shape = self.editor.constant(
            "heads.shape", np.array([0, 0, heads, hidden // heads], np.int64)
        )
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        reach = [factors[0] * self.reach(layer, "q"), self.reach(layer, "k"), self.value(layer)]
        q, k, v = (
            self.padded(part, shape, name, order, amax)
            for part, name, order, amax in zip(rows, parts, orders, reach, strict=True)
        )
        self.mixed(layer, q, k, v, self.editor.input("attention_bias"), find_context(inputs))

    def project(
        self, nodes: list[ir.Node], layer: str, factors: Array, steps: Array | None = None
    ) -> ir.Value:
        """Queries, keys and values of ``[T, hidden]`` as one product.

        Args:
            nodes: one, or those of the three.
            layer: such as ``layers.0``.
            factors: ``[3 · width]``, what its outputs are multiplied by; in INT8 one over
                SmoothQuant's divisor of the context goes into those of the values.
            steps: ``[3 · width]``, what they are divided by then.
        """
        weight, bias = self.joined(nodes)
        source, out, middle = nodes[0].inputs[0], f"{layer}.qkv", None
        if self.int8:
            source, weight, middle = self.quantized(source, f"{layer}.qkv_in", weight)
            divisor = self.sites[f"{layer}.context"].divisor
            if divisor is not None:
                inverse = np.asarray(1 / divisor, np.float32)
                factors = np.concatenate([factors[: -len(divisor)], inverse])
        if steps is not None:
            factors = factors / steps
        weight, bias = weight * factors[:, None], bias * factors
        return self.product(source, out, weight, bias, out, middle)

    def joined(self, nodes: Sequence[ir.Node]) -> tuple[Array, Array]:
        """Weights and biases, one below the other."""
        weights, biases = zip(*(self.weight_and_bias(node) for node in nodes), strict=True)
        return np.concatenate(weights), np.concatenate(biases)

    def mixed(
        self, layer: str, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value, out: ir.Value
    ) -> None:
        """The context ``[T, hidden]``, of ``[B, heads, S, d]`` (keys: ``[B, heads, d, S]``)."""
        emit, context = self.editor.emit, f"{layer}.context"
        scores = emit("MatMul", [q, k], f"{layer}.qk.matmul")
        scores = emit("Add", [scores, mask], f"{layer}.scores")
        probs = emit("Softmax", [scores], f"{layer}.probs", axis=-1)
        if self.lowering.attention:
            stored = self.quantize(probs, f"{layer}.probs", in_half(np.float32(1 / 127)))
            probs = self.dequantize(stored, f"{layer}.probs", f"{layer}.probs.dq")
        mixed = emit("MatMul", [probs, v], f"{layer}.pv.matmul")
        if self.int8:
            mixed = self.quantize(mixed, context, self.step(context))
        mixed = emit("Transpose", [mixed], f"{layer}.mixed.rows", perm=[0, 2, 1, 3])
        flat = self.editor.constant("rows.shape", np.array([-1, self.facts["hidden"]], np.int64))
        mixed = emit("Reshape", [mixed, flat], f"{layer}.mixed.flat")
        index = self.editor.input("unpad_index")
        if not self.int8:
            emit("GatherND", [mixed, index], out)
            return
        packed = emit("GatherND", [mixed, index], f"{context}.packed")
        self.dequantize(packed, context, out)

    def reach(self, layer: str, part: str) -> float:
        """The range of q or k; 0 where nothing is quantized."""
        return self.sites[f"{layer}.{part}"].amax if self.lowering.attention else 0.0

    def value(self, layer: str) -> float:
        """The range of v behind SmoothQuant's divisor of the context."""
        found = self.sites[f"{layer}.v"].smoothed if self.lowering.attention else None
        return self.reach(layer, "v") if found is None else found

    def padded(
        self, rows: ir.Value, shape: ir.Value, name: str, order: list[int], amax: float
    ) -> ir.Value:
        """``[T, hidden]`` -> per head and padded, quantized on the way in INT8 attention."""
        emit = self.editor.emit
        if self.lowering.attention:
            rows = self.quantize(rows, name, self.halves.step(name, amax / 127))
        rows = emit("GatherND", [rows, self.editor.input("pad_index")], name + ".padded")
        rows = emit("Reshape", [rows, shape], name + ".split")
        rows = emit("Transpose", [rows], name + ".heads", perm=order)
        return self.dequantize(rows, name, name + ".dq") if self.lowering.attention else rows

    def pool(
        self, hidden: ir.Value, modes: Sequence[str], *, include_prompt: bool
    ) -> list[ir.Value]:
        """``[B, hidden]`` fp32 for each mode."""
        return pool_slots(self.editor, hidden, modes, include_prompt=include_prompt)
