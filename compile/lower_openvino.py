"""Graph → the INT8 form of the CPU: unsigned activations, each site with its own zero point.

Where a site's channels are moved to their middle nothing is computed for it: the norm's bias gives
the middle up, the linear layer's takes it back through its rounded weight, and so does the layer
whose output meets the norm's at the residual. Attention's context is a mean of values, so its
middle leaves through the values' bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.calibrate.quantized import QuantizedLinear
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.quantize import check_finite
from xopt.compile.recipes import Lowering
from xopt.compile.traced import array, bias_of, find_inputs, input_name, linear_of, linears
from xopt.encoders.spec import SITES

__all__ = ["AffineLowerer"]

Array = NDArray[np.float32]

# No value comes near it, and it is finite in fp32.
BOUND = 1e30


class AffineLowerer:
    """Lowers the encoder's linear layers one after another.

    Args:
        editor: over the traced graph, whose biases change at once.
        sites: what was measured; weights that it leaves out are rounded to the nearest step.
        heads: of attention.
        lowering: says which sites' linear layers stay as they are, or in bf16.
    """

    def __init__(
        self,
        editor: GraphEditor,
        sites: Mapping[str, Site],
        heads: int,
        lowering: Lowering,
    ) -> None:
        self.editor, self.sites, self.heads = editor, sites, heads
        self._brain = frozenset(lowering.bf16_sites)
        self._exact = self._brain.union(lowering.fp32_sites)
        self.affine = {s.name: s.affine for s in sites.values() if s.limits is not None}
        # Nothing is moved for a site that is not rounded.
        for name in self._exact & set(self.affine):
            how = self.affine[name]
            self.affine[name] = replace(how, middle=0 * how.middle)
        self._pair_sum = lowering.pair_sum
        nodes = linears(editor.source)
        # Rows of each linear layer's weight.
        self._heights = {linear: len(array(node.inputs[1])) for linear, node in nodes.items()}
        # Site -> what is left of its value once it is quantized.
        self._done: dict[str, ir.Value] = {}
        # Sites whose middle is gone before they are reached.
        self._moved: set[str] = set()
        for (layer, linear), node in nodes.items():
            site = f"{layer}.{SITES[linear]}"
            if SITES[linear] in ("qkv_in", "ffn_in") and site not in self._exact:
                self._move(node.inputs[0], site)

    def _move(self, value: ir.Value | None, site: str) -> None:
        """Take a site's middle out of the norm before it, if only a residual reads that too."""
        norm = None if value is None else value.producer()
        if site in self._moved or norm is None or norm.op_type != "LayerNormalization":
            return
        others = [reader for reader in norm.successors() if linear_of(reader) is None]
        middle = self.affine[site].middle
        if others:
            if len(others) != 1 or others[0].op_type != "Add":
                return
            partner = next((n for n in others[0].predecessors() if n is not norm), None)
            if partner is None or linear_of(partner) is None:
                return
            self._set_bias(partner, f"{site}.residual.bias", bias_of(partner) + middle)
        bias = array(norm.inputs[2]) if len(norm.inputs) > 2 else np.zeros_like(middle)
        self._set_bias(norm, f"{site}.norm.bias", bias - middle)
        self._moved.add(site)

    def _set_bias(self, node: ir.Node, name: str, value: NDArray[np.floating]) -> None:
        self.editor.set_bias(node, name, value.astype(np.float32))

    def lower(self, node: ir.Node, layer: str, linear: str) -> None:
        """Replace ``Gemm(x, W, b)`` by its quantized form."""
        site = f"{layer}.{SITES[linear]}"
        if site in self._exact:
            self._keep(node, layer, linear)
            return
        name, [out] = input_name(node, 1), node.outputs
        weight, rows = array(node.inputs[1]), self._rows(layer, linear)
        found = self.sites[site].linear(weight, rows, self._pair_sum)
        bias = bias_of(node) + found.correction
        # Where the values' bias is ours, it holds the context's middle.
        if linear == "attention_output" and (layer, "qkv") in self._heights:
            self._moved.add(site)
        if site not in self._done:
            self._done[site] = self._quantize(node.inputs[0], site)
        source = self._done[site]
        if linear == "qkv":
            self._split(source, out, layer, found, bias)
        elif linear in ("q", "k", "v"):
            given = source, found.values, found.scales, bias, name
            _bar(self.editor, self._product(*given, f"{out.name}.exact"), out)
        else:
            self._product(source, found.values, found.scales, bias, name, out)

    def _keep(self, node: ir.Node, layer: str, linear: str) -> None:
        """The product in fp32, or of a weight in bf16, by which our own layer knows it.

        A joint one gives the values without the context's middle.
        """
        editor, name, [out] = self.editor, input_name(node, 1), node.outputs
        bias, weight = bias_of(node).copy(), node.inputs[1]
        if linear == "qkv":
            bias[2 * len(bias) // 3 :] -= self.affine[f"{layer}.context"].middle
        if f"{layer}.{SITES[linear]}" in self._brain:
            # What rounds beyond its range is refused.
            with np.errstate(over="ignore"):
                rounded = array(weight).astype(ir.DataType.BFLOAT16.numpy())
            check_finite(name, rounded.astype(np.float32))
            held = editor.constant(f"{name}.bf16", rounded)
            weight = editor.emit("Cast", [held], f"{name}.cast", to=ir.DataType.FLOAT)
        transposed = editor.emit("Transpose", [weight], f"{name}.t", perm=[1, 0])
        product = editor.emit("MatMul", [node.inputs[0], transposed], f"{out.name}.product")
        editor.emit("Add", [product, editor.constant(f"{out.name}.bias.exact", bias)], out)

    def _split(
        self,
        source: ir.Value,
        projection: ir.Value,
        layer: str,
        found: QuantizedLinear,
        bias: Array,
    ) -> None:
        """Three projections in place of the joint one, and their gathers."""
        editor, inputs = self.editor, find_inputs(projection)
        context = self.affine[f"{layer}.context"]
        hidden = len(bias) // 3
        bias[2 * hidden :] -= context.middle
        shape = np.array([0, 0, self.heads, hidden // self.heads], np.int64)
        heads = editor.constant("heads.shape", shape)
        factors = [np.float32(inputs.scale), np.float32(1), np.float32(1)]
        for number, (part, factor) in enumerate(zip("qkv", factors, strict=True)):
            rows, out = slice(number * hidden, (number + 1) * hidden), f"{layer}.{part}"
            exact = found.scales[rows] * factor, bias[rows] * factor
            product = self._product(source, found.values[rows], *exact, f"{out}.weight", out)
            barred = _bar(editor, product, out + ".clip")
            padded = editor.emit("Gather", [barred, inputs.pad_index], out + ".padded", axis=0)
            split = editor.emit("Reshape", [padded, heads], out + ".heads")
            editor.emit("Transpose", [split], inputs.outputs[number], perm=[0, 2, 1, 3])

    def _rows(self, layer: str, linear: str) -> slice:
        """Where a layer's rows lie among those of its site."""
        start = 0
        for reader, site in SITES.items():
            if site == SITES[linear] and (layer, reader) in self._heights:
                height = self._heights[layer, reader]
                if reader == linear:
                    return slice(start, start + height)
                start += height
        raise AssertionError(f"{linear} reads no site")

    def _quantize(self, source: ir.Value | None, site: str) -> ir.Value:
        """QuantizeLinear and DequantizeLinear behind the division by SmoothQuant's divisor.

        Behind a GELU, OpenVINO makes both a part of the product before it. Elsewhere the division
        carries the quantization along, which takes several times as long by itself. The division
        has three dimensions: into one of ``[1, T, n]`` OpenVINO fuses the quantization, but one of
        ``[T, n]`` it merges into a quantization per channel, which takes several times as long.
        """
        editor, how = self.editor, self.affine[site]
        parts = [
            editor.constant(site + ".scale", np.array(how.step, np.float32)),
            editor.constant(site + ".zero", np.array(how.zero, np.uint8)),
        ]
        smoothed = bool((how.divisor != 1).any())
        apart = smoothed and not site.endswith(".ffn_act")
        axis = editor.constant("axis.0", np.array([0], np.int64)) if apart else None
        if apart:
            source = editor.emit("Unsqueeze", [source, axis], site + ".3d")
        if site not in self._moved and how.middle.any():
            middle = editor.constant(site + ".middle", how.middle)
            source = editor.emit("Sub", [source, middle], site + ".shifted")
        if smoothed:
            inverse = editor.constant(site + ".smooth", np.float32(1) / how.divisor)
            source = editor.emit("Mul", [source, inverse], site + ".smoothed")
        q = editor.emit("QuantizeLinear", [source, *parts], site + ".q")
        dq = editor.emit("DequantizeLinear", [q, *parts], site + ".dq")
        return editor.emit("Squeeze", [dq, axis], site + ".2d") if apart else dq

    def _product(
        self,
        source: ir.Value,
        values: NDArray[np.int8],
        scales: Array,
        bias: Array,
        name: str,
        out: str | ir.Value,
    ) -> ir.Value:
        """``out = source · (values · scales)^T + bias``; values ``[out, in]``."""
        editor = self.editor
        parts = [
            editor.constant(name + ".int8", np.ascontiguousarray(values)),
            editor.constant(name + ".scale", scales.astype(np.float32)),
            editor.constant(name + ".zero", np.zeros(len(scales), np.int8)),
        ]
        full = editor.emit("DequantizeLinear", parts, name + ".dequantized", axis=0)
        transposed = editor.emit("Transpose", [full], name + ".t", perm=[1, 0])
        to = out if isinstance(out, str) else out.name
        product = editor.emit("MatMul", [source, transposed], f"{to}.product")
        added = editor.constant(f"{to}.bias.rounded", bias.astype(np.float32))
        return editor.emit("Add", [product, added], out)


def _bar(editor: GraphEditor, source: ir.Value, out: str | ir.Value) -> ir.Value:
    """A Clip that bounds nothing.

    Without it OpenVINO moves the dequantization behind the gather, where it runs by itself over
    every padding slot; a Clip it cannot pass, and the product takes both in.
    """
    low = editor.constant("clip.low", np.array(-BOUND, np.float32))
    high = editor.constant("clip.high", np.array(BOUND, np.float32))
    return editor.emit("Clip", [source, low, high], out)
