"""What of TensorRT's graph multiplies: a linear layer, its constants, and Q/DQ around it.

One scalar dequantizes a weight, and a multiplication per column follows the product. With a scale
per column TensorRT writes the raw int32 accumulators as fp16, where they overflow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.calibrate.quantized import Affine, round_to_nearest
from xopt.calibrate.sites import Site
from xopt.compile.centering import center_attention
from xopt.compile.editing import GraphEditor
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import Halves, half_inverse, weight_step
from xopt.compile.recipes import Lowering
from xopt.encoders.plan import Linear
from xopt.encoders.spec import SITES

__all__ = ["Array", "LinearLowerer"]

Array = NDArray[np.float32]


class LinearLowerer:
    """Lowers linear layers.

    Args:
        editor: over an empty graph.
        encoder: what is lowered.
        lowering: of a form of TensorRT's.
        sites: by name; not read when nothing is quantized.
    """

    def __init__(
        self,
        editor: GraphEditor,
        encoder: PackedEncoder,
        lowering: Lowering,
        sites: Mapping[str, Site],
    ) -> None:
        self.editor, self.lowering, self.sites = editor, lowering, sites
        self.int8 = lowering.weights == "int8"
        self.halves = Halves("TensorRT's kernels")
        self.plan = encoder.plan
        self.state = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
        if lowering.attention:
            center_attention(self.plan, sites, self.state)
        self.values: dict[str, ir.Value] = {}
        # What every layer reads and is emitted for the first of them.
        self.once: dict[str, ir.Value] = {}

    def half(self, name: str, values: Array) -> ir.Value:
        """A constant in fp16."""
        self.halves.check(name.removesuffix(".fp16"), values)
        return self.editor.constant(name, values.astype(np.float16))

    def turned(self, name: str, weight: Array) -> ir.Value:
        """``[in, out]`` in fp16 of ``[out, in]``, each row of which is to keep its digits."""
        self.halves.check_rows(name.removesuffix(".fp16"), weight)
        return self.half(name, np.ascontiguousarray(weight.T))

    def index(self, ids: str) -> ir.Value:
        """``[T, 1]``: ids as GatherND takes them."""
        if ids not in self.once:
            last = self.editor.constant("axis.last", np.array([-1], np.int64))
            given = [self.editor.input(ids), last]
            self.once[ids] = self.editor.emit("Unsqueeze", given, f"{ids}.index")
        return self.once[ids]

    def linear(self, op: Linear, site: str) -> None:
        """``x · W^T + b``; with the first that reads a site, of all that do as one product."""
        ops = self.readers(site)
        if op != ops[0]:
            return
        source, weight, bias = self.joined(site)
        middle = None
        if self.int8:
            if op.source != "context":
                source, weight, middle = self.quantized(source, site, weight)
            elif (divisor := self.sites[site].divisor) is not None:
                weight = weight * divisor[None, :]
        found = [self.product(source, op.name, weight, bias, middle)]
        if len(ops) > 1:
            outputs = np.array([each.outputs for each in ops], np.int64)
            given = [*found, self.editor.constant("ffn.sizes", outputs)]
            names = [f"{each.name}.part" for each in ops]
            found = self.editor.emit_all("Split", given, names, axis=-1)
        self.values |= zip((each.out for each in ops), found, strict=True)

    def readers(self, site: str) -> list[Linear]:
        """The linear layers that read a site, in the order of the plan."""
        return [op for op in self.plan if isinstance(op, Linear) and op.site == site]

    def joined(self, site: str) -> tuple[ir.Value, Array, Array]:
        """What is read at a site, and weights and biases of its readers one below the other."""
        ops = self.readers(site)
        weight, bias = (
            np.concatenate([self.state[f"{op.name}.{kind}"] for op in ops])
            for kind in ("weight", "bias")
        )
        return self.values[ops[0].source], weight, bias

    def quantized(
        self, source: ir.Value, site: str, weight: Array
    ) -> tuple[ir.Value, Array, Array | None]:
        """Q/DQ of a linear layer's input, which is smoothed and moved to its middle first.

        The weight takes the divisor back, and in :meth:`product` the bias takes the middle
        (channel-wise shifting, Outlier Suppression+, Wei et al., 2023): the layer stays the same.

        Returns:
            The input, the weight, and the middle ``[in]``, None where nothing is moved.
        """
        divisor, shift = self.sites[site].divisor, self.sites[site].middle
        # Both take back what fp16 has made of them.
        middle = None
        inverse = np.ones(1, np.float16)
        if divisor is not None:
            inverse = half_inverse(divisor)
            factor = self.editor.constant(site + ".smooth", inverse)
            source = self.editor.emit("Mul", [source, factor], site + ".smoothed")
            weight = weight / inverse.astype(np.float32)[None, :]
        if shift is not None:
            half = (shift * inverse.astype(np.float32)).astype(np.float16)
            moved = self.editor.constant(site + ".middle", half)
            source = self.editor.emit("Sub", [source, moved], site + ".shifted")
            middle = half.astype(np.float32)
        stored = self.quantize(source, site, self.step(site))
        return self.dequantize(stored, site, site + ".dq"), weight, middle

    def product(
        self, source: ir.Value, name: str, weight: Array, bias: Array, middle: Array | None
    ) -> ir.Value:
        """The product of a linear layer with its weight ``[out, in]``, and the bias.

        What ``middle`` took from the input comes back through the rounded weight, not the exact
        one: behind a GELU most inputs are near 0, and there the two roundings must cancel.
        """
        emit = self.editor.emit
        if not self.int8:
            values = self.turned(name + ".weight.fp16", weight)
            product = emit("MatMul", [source, values], name + ".matmul")
        else:
            layer, _, linear = name.rpartition(".")
            # The divisor is in the weight, as fp16 has it; the middle is of the divided input.
            ones = np.ones(weight.shape[1], np.float32)
            given = float(self.step(f"{layer}.{SITES[linear]}"))
            how = Affine(given, 0, ones, 0 * ones if middle is None else middle)
            found = round_to_nearest(weight, how)
            scales = found.scales.copy()
            scales[~weight.any(axis=1)] = 0
            step = weight_step(found.values, scales, np.float32(given))
            rows = np.ascontiguousarray(found.values.T)
            stored = self.editor.constant(name + ".weight.int8", rows)
            full = self._dequantized(stored, name + ".weight", step)
            exact = emit("MatMul", [source, full], name + ".matmul")
            ratio = scales / step
            self.halves.check_rows(name + ".weight's ratio", ratio[:, None])
            stored = self.half(name + ".weight.ratio", ratio)
            product = emit("Mul", [exact, stored], name + ".scaled")
            held = ratio.astype(np.float16).astype(np.float32)
            bias = (bias + found.taken * held * step).astype(np.float32)
        return emit("Add", [product, self.half(name + ".bias", bias)], name)

    def _dequantized(self, stored: ir.Value, name: str, step: np.float32) -> ir.Value:
        parts = [stored, *self._scale(name, step)]
        return self.editor.emit("DequantizeLinear", parts, name + ".dequantized")

    def _scale(self, site: str, step: np.float32) -> list[ir.Value]:
        return [
            self.half(site + ".scale", np.array(step, np.float32)),
            self.editor.constant(site + ".zero", np.array(0, np.int8)),
        ]

    def step(self, site: str) -> np.float32:
        """The step of a site's 8-bit values, as fp16 holds it."""
        reach = self.sites[site].reach(self.lowering.attention, moved=True)
        return self.halves.step(site, reach / 127)

    def quantize(self, source: ir.Value, site: str, step: np.float32) -> ir.Value:
        """QuantizeLinear with one step."""
        return self.editor.emit("QuantizeLinear", [source, *self._scale(site, step)], site + ".q")

    def dequantize(self, source: ir.Value, site: str, out: str) -> ir.Value:
        """DequantizeLinear with the step that :meth:`quantize` took for this site."""
        known = self.editor.graph.initializers
        parts = [source, known[site + ".scale"], known[site + ".zero"]]
        return self.editor.emit("DequantizeLinear", parts, out)
