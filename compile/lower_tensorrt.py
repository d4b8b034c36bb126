"""Plan → the form that TensorRT fuses: fp16 throughout, INT8 where a site is quantized.

Every choice here is one that decides which kernels TensorRT-RTX 1.7 takes, read from built engines:

* Linear layers: :mod:`~xopt.compile.tensorrt_linear`.
* GatherND with an index that is an input of its final shape; Gather becomes a scalar kernel.
* Q/DQ on q, k and v, on the probabilities and on the attention's output, in primitive operators:
  what becomes one INT8 attention kernel.
* T, B and S as the only names of dynamic axes: unless the mask's are the index's, nothing fuses.
* A window of the text is a second mask, the same for every sentence, so one kernel serves both
  kinds of layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.external import WeightsWriter
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import in_half
from xopt.compile.recipes import Lowering
from xopt.compile.tensorrt_head import emit_head, pool_slots
from xopt.compile.tensorrt_inputs import declare
from xopt.compile.tensorrt_linear import Array, LinearLowerer
from xopt.compile.tensorrt_rotary import split_turned
from xopt.compile.trace import OPSET
from xopt.compile.traced import WORDS
from xopt.encoders.plan import Act, Attend, Embed, Gate, Linear, Normalize, Op, Residual, State
from xopt.encoders.spec import SITES
from xopt.errors import BuildError

__all__ = ["Lowerer", "lower_tensorrt"]

# The format's version that the opset is of.
IR_VERSION = 10


def lower_tensorrt(
    writer: WeightsWriter,
    encoder: PackedEncoder,
    lowering: Lowering,
    sites: Mapping[str, Site],
    lowerer: type[Lowerer] | None = None,
) -> ir.Model:
    """Write the graph of an encoder.

    Args:
        writer: of its weights.
        encoder: one that :func:`~xopt.compile.recipes.check_encoder` lets pass.
        lowering: of a form of TensorRT's.
        sites: by name; not read when nothing is quantized.
        lowerer: of this form of attention; by default of TensorRT's own.

    Raises:
        UnsupportedError: a weight leaves the range of fp16, or all of it lies below its normal
            numbers; or a constant would be NaN or infinite.
        BuildError: the plan has an operation that is none of TensorRT's.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="main_graph")
    model = ir.Model(graph, ir_version=IR_VERSION, producer_name="xopt")
    editor = GraphEditor(model, writer)
    work = (lowerer or Lowerer)(editor, encoder, lowering, sites)
    for site in sites.values():
        # The scale of the scores makes queries smaller.
        if site.largest is not None and site.kind != "q":
            work.halves.check(f"{site.name} (a value in between)", np.array(site.largest))
    for op in encoder.plan:
        work.lower(op)
    answer = emit_head(work, work.values["x"], encoder.spec, work.pool)
    graph.outputs.append(editor.emit("Cast", [answer], encoder.output_name, to=ir.DataType.FLOAT))
    editor.finish()
    work.halves.tell()
    width = encoder.spec.width(encoder.config.hidden)
    declare(editor, "T" if encoder.spec.kind in ("tag", "span") else "B", width)
    return model


class Lowerer(LinearLowerer):
    """Lowers operation after operation; what they read and write is in ``values``."""

    def lower(self, op: Op) -> None:
        """Emit what stands for ``op``.

        Raises:
            BuildError: TensorRT's form has no such operation.
        """
        values, emit = self.values, self.editor.emit
        match op:
            case Embed():
                values[op.out] = self.embed(op)
            case Normalize(heads=1) if op.norm.kind == "layer":
                values[op.out] = self.norm(op)
            case Linear(site=str(site)):
                # Queries, keys and values are projected where attention says how.
                if not site.endswith(f".{SITES['qkv']}"):
                    self.linear(op, site)
            case Attend(turns_values=False, terms=()) if op.heads == op.kv_heads:
                values[op.out] = self.attention(op)
            case Act(kind="gelu"):
                given = values[op.source]
                values[op.out] = emit("Gelu", [given], f"{given.name}.act", approximate="none")
            case Gate():
                parts = [values[op.source], values[op.other]]
                values[op.out] = emit("Mul", parts, f"{parts[0].name}.gated")
            case Residual():
                parts = [values[op.source], values[op.other]]
                values[op.out] = emit("Add", parts, f"{parts[0].name}.sum")
            case State():
                pass
            case _:
                raise BuildError(f"TensorRT's form has no such operation: {op}.")

    def embed(self, op: Embed) -> ir.Value:
        """``[T, hidden]``: words, token types and positions."""
        rows, emit, types = dict(op.rows), self.editor.emit, "embeddings.token_type.weight"
        total = self.words()
        if "token_type" in rows:
            if rows["token_type"] > 1:
                kind = self.lookup(types, "token_type_ids")
            else:
                kind = self.half(types + ".fp16", self.state[types][0])
            total = emit("Add", [total, kind], "embeddings.typed")
        if "position" in rows:
            place = self.lookup("embeddings.position.weight", "position_ids")
            total = emit("Add", [total, place], "embeddings.placed")
        return total

    def norm(self, op: Normalize) -> ir.Value:
        """LayerNorm, its weights in fp16."""
        names = [f"{op.name}.weight", *([f"{op.name}.bias"] if op.norm.bias else [])]
        weights = [self.half(name + ".fp16", self.state[name]) for name in names]
        given = {"axis": -1, "epsilon": op.norm.epsilon, "stash_type": 1}
        return self.editor.emit(
            "LayerNormalization", [self.values[op.source], *weights], op.name, **given
        )

    def lookup(self, table: str, ids: str) -> ir.Value:
        """``[T, hidden]``: one row of a table in fp16 per token."""
        given = [self.half(table + ".fp16", self.state[table]), self.index(ids)]
        return self.editor.emit("GatherND", given, table.removesuffix(".weight"))

    def words(self) -> ir.Value:
        """``[T, hidden]``: word embeddings, in INT8 with a ratio for each row."""
        values, index, out = self.state[WORDS], self.index("input_ids"), "embeddings.word"
        # In INT8 too: what a lookup gives is fp16.
        self.halves.check_rows(WORDS, values)
        if self.lowering.embeddings != "int8":
            return self.lookup(WORDS, "input_ids")
        rows, scales = quantize_rows(values)
        # A row of zeros has no step, and must not make that of the others coarser.
        scales[~rows.any(axis=1)] = 0
        step = in_half(np.float32(scales.max()))
        # The largest number, which a step that was rounded up may have moved beyond fp16.
        self.halves.check(WORDS, np.array(127 * step))
        full = self._dequantized(self.editor.constant(WORDS + ".int8", rows), WORDS, step)
        exact = self.editor.emit("GatherND", [full, index], out + ".rows")
        ratio = (scales / step)[:, None]
        self.halves.check_rows(WORDS + "'s ratio", ratio)
        ratios = self.half(WORDS + ".ratio", ratio)
        factor = self.editor.emit("GatherND", [ratios, index], out + ".ratio")
        return self.editor.emit("Mul", [exact, factor], out)

    def attention(self, op: Attend) -> ir.Value:
        """The joint projection and all that follows it, up to the context ``[T, hidden]``.

        The scale of the scores goes into the query's rows, and SmoothQuant's divisor of the context
        into the value's: a context is a mean of values, so its channels shrink with theirs, and
        nothing stands between the attention kernel and its quantization.
        """
        width, layer = op.heads * op.head_dim, op.layer
        factors = np.ones(3 * width, np.float32)
        factors[:width] = op.scale
        out = self.project(op, factors)
        sizes = self.editor.constant("qkv.sizes", np.array([width] * 3, np.int64))
        parts = [f"{layer}.{part}" for part in "qkv"]
        rows = self.editor.emit_all("Split", [out, sizes], parts, axis=-1)
        if op.rotary is not None:
            rows = split_turned(self, op, rows)
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        reach = [factors[0] * self.reach(layer, "q"), self.reach(layer, "k"), self.value(layer)]
        q, k, v = (
            self.padded(op, part, name, order, amax)
            for part, name, order, amax in zip(rows, parts, orders, reach, strict=True)
        )
        return self.mixed(op, q, k, v)

    def project(self, op: Attend, factors: Array, steps: Array | None = None) -> ir.Value:
        """Queries, keys and values of ``[T, hidden]`` as one product.

        Args:
            op: reads them.
            factors: ``[3 · width]``, what its outputs are multiplied by; in INT8 one over
                SmoothQuant's divisor of the context goes into those of the values.
            steps: ``[3 · width]``, what they are divided by then.
        """
        site = f"{op.layer}.{SITES['qkv']}"
        source, weight, bias = self.joined(site)
        middle = None
        if self.int8:
            source, weight, middle = self.quantized(source, site, weight)
            divisor = self.sites[f"{op.layer}.context"].divisor
            if divisor is not None:
                inverse = np.asarray(1 / divisor, np.float32)
                factors = np.concatenate([factors[: -len(divisor)], inverse])
        if steps is not None:
            factors = factors / steps
        weight, bias = weight * factors[:, None], bias * factors
        return self.product(source, f"{op.layer}.qkv", weight, bias, middle)

    def padded(
        self, op: Attend, rows: ir.Value, name: str, order: list[int], amax: float
    ) -> ir.Value:
        """``[T, hidden]`` -> per head and padded, quantized on the way in INT8 attention.

        Rotated rows are ``[T, heads, d]`` already.
        """
        emit = self.editor.emit
        if self.lowering.attention:
            rows = self.quantize(rows, name, self.halves.step(name, amax / 127))
        rows = emit("GatherND", [rows, self.editor.input("pad_index")], name + ".padded")
        if op.rotary is None:
            split = np.array([0, 0, op.heads, op.head_dim], np.int64)
            shape = self.editor.constant("heads.shape", split)
            rows = emit("Reshape", [rows, shape], name + ".split")
        rows = emit("Transpose", [rows], name + ".heads", perm=order)
        return self.dequantize(rows, name, name + ".dq") if self.lowering.attention else rows

    def mixed(self, op: Attend, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
        """The context ``[T, hidden]``, of ``[B, heads, S, d]`` (keys: ``[B, heads, d, S]``)."""
        emit, layer, context = self.editor.emit, op.layer, f"{op.layer}.context"
        scores = emit("MatMul", [q, k], f"{layer}.qk.matmul")
        scores = emit("Add", [scores, self.mask(op)], f"{layer}.scores")
        probs = emit("Softmax", [scores], f"{layer}.probs", axis=-1)
        if self.lowering.attention:
            stored = self.quantize(probs, f"{layer}.probs", in_half(np.float32(1 / 127)))
            probs = self.dequantize(stored, f"{layer}.probs", f"{layer}.probs.dq")
        mixed = emit("MatMul", [probs, v], f"{layer}.pv.matmul")
        if self.int8:
            mixed = self.quantize(mixed, context, self.step(context))
        mixed = emit("Transpose", [mixed], f"{layer}.mixed.rows", perm=[0, 2, 1, 3])
        width = np.array([-1, op.heads * op.head_dim], np.int64)
        flat = self.editor.constant("rows.shape", width)
        mixed = emit("Reshape", [mixed, flat], f"{layer}.mixed.flat")
        index = self.editor.input("unpad_index")
        if not self.int8:
            return emit("GatherND", [mixed, index], context)
        packed = emit("GatherND", [mixed, index], f"{context}.packed")
        return self.dequantize(packed, context, context)

    def mask(self, op: Attend) -> ir.Value:
        """What is added to the scores."""
        mask, name = self.editor.input("attention_bias"), "attention_bias.window"
        if op.window is None:
            return mask
        if name not in self.once:
            given = [mask, self.editor.input("window_mask")]
            self.once[name] = self.editor.emit("Add", given, name)
        return self.once[name]

    def reach(self, layer: str, part: str) -> float:
        """The range of q or k; 0 where nothing is quantized."""
        return self.sites[f"{layer}.{part}"].amax if self.lowering.attention else 0.0

    def value(self, layer: str) -> float:
        """The range of v behind SmoothQuant's divisor of the context."""
        found = self.sites[f"{layer}.v"].smoothed if self.lowering.attention else None
        return self.reach(layer, "v") if found is None else found

    def pool(
        self, hidden: ir.Value, modes: Sequence[str], *, include_prompt: bool
    ) -> list[ir.Value]:
        """``[B, hidden]`` fp32 for each mode."""
        return pool_slots(self.editor, hidden, modes, include_prompt=include_prompt)
