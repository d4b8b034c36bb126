"""Graph → the INT8 form of the CPU: unsigned activations, each site with its own zero point.

Where a site's channels are moved to their middle nothing is computed for it: the norm's bias gives
the middle up, the linear layer's takes it back through its rounded weight, and so does the layer
whose output meets the norm's at the residual. Attention's context is a mean of values, so its
middle leaves through the values' bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.calibrate.quantized import QuantizedLinear
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.quantize import check_finite
from xopt.compile.recipes import Lowering
from xopt.compile.traced import array, bias_of
from xopt.encoders.plan import Attend, Linear, Normalize, Op, Residual, State

__all__ = ["AffineLowerer", "movable"]

Array = NDArray[np.float32]

# No value comes near it, and it is finite in fp32.
BOUND = 1e30


def movable(ops: Sequence[Op]) -> dict[str, tuple[str, str | None]]:
    """The sites whose middle the bias of a LayerNorm can give up.

    Returns:
        Site -> the norm that it reads, and the linear layer that meets the norm at a residual and
        gives the middle back; None where nothing else reads the norm.
    """
    wrote: dict[str, Op] = {}
    norms: dict[str, str] = {}
    meets: dict[str, Op] = {}
    for op in ops:
        match op:
            case State():
                continue
            case Linear(site=str(site)):
                norm = wrote[op.source]
                if isinstance(norm, Normalize) and norm.norm.kind == "layer":
                    norms[site] = norm.name
            case Residual() if isinstance(norm := wrote[op.other], Normalize):
                meets[norm.name] = wrote[op.source]
        wrote[op.out] = op
    return {
        site: (norm, None if partner is None else partner.name)
        for site, norm in norms.items()
        if isinstance(partner := meets.get(norm), Linear | None)
    }


class AffineLowerer:
    """Lowers the encoder's linear layers one after another.

    Args:
        editor: over the traced graph, whose biases change at once.
        sites: what was measured; weights that it leaves out are rounded to the nearest step.
        lowering: says which sites' linear layers stay as they are, or in bf16.
        ops: the plan that was traced.
    """

    def __init__(
        self,
        editor: GraphEditor,
        sites: Mapping[str, Site],
        lowering: Lowering,
        ops: Sequence[Op],
    ) -> None:
        self.editor, self.sites = editor, sites
        self._brain = frozenset(lowering.bf16_sites)
        self._exact = self._brain.union(lowering.fp32_sites)
        self.affine = {s.name: s.affine for s in sites.values() if s.limits is not None}
        # Nothing is moved for a site that is not rounded.
        for name in self._exact & set(self.affine):
            how = self.affine[name]
            self.affine[name] = replace(how, middle=0 * how.middle)
        self._pair_sum = lowering.pair_sum
        # Where each linear layer's rows lie among those of its site.
        self._rows: dict[str, slice] = {}
        heights: dict[str, int] = {}
        for op in ops:
            if isinstance(op, Linear) and op.site is not None:
                start = heights.get(op.site, 0)
                heights[op.site] = start + op.outputs
                self._rows[op.name] = slice(start, heights[op.site])
        # Attention behind a joint projection, by the name of that.
        self._joint = {
            f"{op.layer}.qkv": op for op in ops if isinstance(op, Attend) and len(op.source) == 1
        }
        # Site -> what is left of its value once it is quantized.
        self._done: dict[str, ir.Value] = {}
        # Sites whose middle is gone before they are reached. Where the values' bias is ours, it
        # holds the context's.
        self._moved = {f"{op.layer}.context" for op in self._joint.values()}
        for site, (norm, partner) in movable(ops).items():
            if site not in self._exact:
                self._move(site, norm, partner)

    def _move(self, site: str, norm: str, partner: str | None) -> None:
        """Take a site's middle out of the norm before it."""
        middle, nodes = self.affine[site].middle, self.editor.nodes
        if partner is not None:
            back = bias_of(nodes[partner]) + middle
            self.editor.set_bias(nodes[partner], f"{site}.residual.bias", back)
        left = bias_of(nodes[norm]) - middle
        self.editor.set_bias(nodes[norm], f"{site}.norm.bias", left)
        self._moved.add(site)

    def lower(self, op: Linear, node: ir.Node) -> None:
        """Replace ``Gemm(x, W, b)`` by its quantized form."""
        assert op.site is not None
        bias, joint = bias_of(node).copy(), self._joint.get(op.name)
        found = None
        if op.site not in self._exact:
            found = self.sites[op.site].linear(
                array(node.inputs[1]), self._rows[op.name], self._pair_sum
            )
            bias += found.correction
        if joint is not None:
            # The values without the context's middle.
            middle = self.affine[f"{joint.layer}.context"].middle
            bias[-len(middle) :] -= middle
        if found is None:
            self._keep(op, node, bias)
            return
        if op.site not in self._done:
            self._done[op.site] = self._quantize(node.inputs[0], op.site)
        source, name, [out] = self._done[op.site], f"{op.name}.weight", node.outputs
        if joint is not None:
            self._attend(joint, source, found, bias)
        elif op.out in ("q", "k", "v"):
            given = source, found.values, found.scales, bias, name
            _bar(self.editor, self._product(*given, f"{out.name}.exact"), out)
        else:
            self._product(source, found.values, found.scales, bias, name, out)

    def _keep(self, op: Linear, node: ir.Node, bias: Array) -> None:
        """The product in fp32, or of a weight in bf16, by which our own layer knows it."""
        emit, constant, name = self.editor.emit, self.editor.constant, f"{op.name}.weight"
        weight, [out] = node.inputs[1], node.outputs
        if op.site in self._brain:
            # What rounds beyond its range is refused.
            with np.errstate(over="ignore"):
                rounded = array(weight).astype(ir.DataType.BFLOAT16.numpy())
            check_finite(name, rounded.astype(np.float32))
            held = constant(name + ".bf16", rounded)
            weight = emit("Cast", [held], name + ".cast", to=ir.DataType.FLOAT)
        transposed = emit("Transpose", [weight], name + ".t", perm=[1, 0])
        product = emit("MatMul", [node.inputs[0], transposed], f"{out.name}.product")
        emit("Add", [product, constant(f"{out.name}.bias.exact", bias)], out)

    def _attend(
        self, op: Attend, source: ir.Value, projection: QuantizedLinear, bias: Array
    ) -> None:
        """Three projections in place of the joint one, and attention between them."""
        emit, constant, given = self.editor.emit, self.editor.constant, self.editor.input
        width, name = op.heads * op.head_dim, f"{op.layer}.{{}}".format
        shape = constant("heads.shape", np.array([0, 0, op.heads, op.head_dim], np.int64))
        parts = []
        for number, part in enumerate("qkv"):
            rows, out = slice(number * width, (number + 1) * width), name(part)
            factor = np.float32(op.scale if part == "q" else 1)
            exact = projection.scales[rows] * factor, bias[rows] * factor
            product = self._product(source, projection.values[rows], *exact, f"{out}.weight", out)
            barred = _bar(self.editor, product, out + ".clip")
            padded = emit("Gather", [barred, given("pad_index")], out + ".padded", axis=0)
            split = emit("Reshape", [padded, shape], out + ".heads")
            parts.append(emit("Transpose", [split], out + ".turned", perm=[0, 2, 1, 3]))
        q, k, v = parts
        keys = emit("Transpose", [k], name("k.columns"), perm=[0, 1, 3, 2])
        scores = emit("MatMul", [q, keys], name("scores"))
        scores = emit("Add", [scores, given("attention_bias")], name("scores.biased"))
        probs = emit("Softmax", [scores], name("probs"), axis=-1)
        mixed = emit("MatMul", [probs, v], name("mixed"))
        mixed = emit("Transpose", [mixed], name("mixed.rows"), perm=[0, 2, 1, 3])
        flat = constant("rows.shape", np.array([-1, width], np.int64))
        mixed = emit("Reshape", [mixed, flat], name("mixed.flat"), allowzero=1)
        [context, *_] = self.editor.nodes[name("attention_output")].inputs
        assert context is not None
        emit("Gather", [mixed, given("unpad_index")], context, axis=0)

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
