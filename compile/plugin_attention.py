"""Plan → the form for TensorRT in which attention is our own kernel, on the packed batch itself.

What TensorRT's own attention needs falls away with it: the padded form, its two indices and its
mask. A plugin node reads the joint projection ``[T, 3·H]`` as it stands, and ``cu_seqlens``.

In INT8 the steps of q, k and v are part of the projection (of the multiplication per column behind
its product, and of its bias), so that one quantization with the step 1 stands between it and the
kernel. The step of the context divides that of v, which the kernel reads anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from xopt.calibrate.sites import Site
from xopt.compile.external import WeightsWriter
from xopt.compile.lower_tensorrt import Lowerer, lower_tensorrt
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import Lowering
from xopt.compile.tensorrt_linear import Array
from xopt.encoders.plan import Attend
from xopt.engines.cuda_weights import HEAD_DIMS
from xopt.engines.tensorrt.plugin import ATTENTION, ATTENTION_INT8, NAMESPACE, VERSION
from xopt.errors import BuildError, UnsupportedError

__all__ = ["PluginLowerer", "lower_plugin"]


def lower_plugin(
    writer: WeightsWriter, encoder: PackedEncoder, lowering: Lowering, sites: Mapping[str, Site]
) -> ir.Model:
    """Write the graph; arguments and errors as for :func:`lower_tensorrt`."""
    model = lower_tensorrt(writer, encoder, lowering, sites, PluginLowerer)
    model.opset_imports[NAMESPACE] = int(VERSION)
    return model


class PluginLowerer(Lowerer):
    """Lowers a plan as its base does, but for attention and what reads the padded form."""

    def attention(self, op: Attend) -> ir.Value:
        """The joint projection and one plugin node, up to the context ``[T, hidden]``.

        Raises:
            UnsupportedError: the kernels do not take this head size.
            BuildError: the encoder scales its scores in another way than the kernel does, or has
                positions or a window, which that does not know.
        """
        self._check(op)
        layer, width = op.layer, op.heads * op.head_dim
        context, joint = f"{layer}.context", f"{layer}.qkv"
        steps: Array = np.ones(3, np.float32)
        if self.lowering.attention:
            reach = [self.reach(layer, "q"), self.reach(layer, "k"), self.value(layer)]
            steps = np.array(reach, np.float32) / np.float32(127)
        out = self.project(op, np.ones(3 * width, np.float32), np.repeat(steps, width))
        bounds = self.editor.input("cu_seqlens")
        sizes = {"heads": op.heads, "head_dim": op.head_dim}
        if self.lowering.attention:
            steps[2] /= self.step(context)
            packed = self.quantize(out, joint, np.float32(1))
            scales = self.editor.constant(joint + ".scales", steps)
            given = [packed, bounds, scales]
            mixed = self._plugin(ATTENTION_INT8, given, context + ".q", **sizes, out_int8=1)
        elif self.int8:
            mixed = self._plugin(ATTENTION, [out, bounds], f"{layer}.mixed", **sizes)
            mixed = self.quantize(mixed, context, self.step(context))
        else:
            return self._plugin(ATTENTION, [out, bounds], context, **sizes)
        self._scale(context, self.step(context))
        return self.dequantize(mixed, context, context)

    def _check(self, op: Attend) -> None:
        native = "Build with TensorRT's own attention: --attention native"
        if op.head_dim not in HEAD_DIMS:
            raise UnsupportedError(
                f"This encoder's attention heads have {op.head_dim} dimensions; the attention "
                f"plugin takes {', '.join(map(str, HEAD_DIMS))}.",
                hint=native,
            )
        if not np.isclose(op.scale, op.head_dim**-0.5, rtol=1e-6):
            raise BuildError(
                f"The encoder multiplies its queries by {op.scale}, the plugin by "
                f"{op.head_dim**-0.5}.",
                hint=native,
            )
        if op.rotary is not None or op.window is not None:
            raise BuildError(
                "The attention plugin knows neither rotary positions nor windows.", hint=native
            )

    def _plugin(
        self, operator: str, inputs: list[ir.Value], out: str, **attributes: int
    ) -> ir.Value:
        """A node that TensorRT's parser takes for our plugin, compiled ahead of time."""
        return self.editor.emit(
            operator,
            inputs,
            out,
            domain=NAMESPACE,
            plugin_namespace=NAMESPACE,
            plugin_version=VERSION,
            aot=1,
            **attributes,
        )

    def pool(
        self, hidden: ir.Value, modes: Sequence[str], *, include_prompt: bool
    ) -> list[ir.Value]:
        """``[B, hidden]`` fp32 for each mode, which is the mean: the rest was refused before."""
        return [self.mean(hidden) for _ in modes]

    def mean(self, hidden: ir.Value) -> ir.Value:
        """``[B, hidden]`` fp32: the mean over a sentence's tokens, as a product with 0 and 1."""
        emit, constant = self.editor.emit, self.editor.constant
        zero, one = constant("index.0", np.array(0, np.int64)), constant("one", np.array(1))
        first, last = (constant(f"axis.{n}", np.array([n], np.int64)) for n in (0, -1))
        ones, end = constant("index.1", np.array([1])), constant("index.end", np.array([2**31]))
        rows = emit("Shape", [hidden], "head.rows", end=1)
        rows = emit("Squeeze", [rows, first], "head.tokens")
        tokens = emit("Range", [zero, rows, one], "head.token")
        bounds = emit(
            "Cast", [self.editor.input("cu_seqlens")], "head.bounds", to=ir.DataType.INT64
        )
        starts = emit("Slice", [bounds, first, last, first], "head.starts")
        ends = emit("Slice", [bounds, ones, end, first], "head.ends")
        started = emit("Unsqueeze", [starts, last], "head.start")
        ended = emit("Unsqueeze", [ends, last], "head.end")
        after = emit("GreaterOrEqual", [tokens, started], "head.after")
        before = emit("Less", [tokens, ended], "head.before")
        inside = emit("And", [after, before], "head.inside")
        members = emit("Cast", [inside], "head.members", to=ir.DataType.FLOAT)
        values = emit("Cast", [hidden], "head.values", to=ir.DataType.FLOAT)
        total = emit("MatMul", [members, values], "head.sum")
        lengths = emit("Sub", [ended, started], "head.lengths")
        length = emit("Cast", [lengths], "head.length", to=ir.DataType.FLOAT)
        return emit("Div", [total, length], "head.mean")
