"""Our own operation in the place of a whole INT8 layer.

Only of encoders whose norms follow the residuals (XLM-R, BERT, DeBERTa and their like), with a GELU
between the last two products and all four products in INT8. Any other layer stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino_match import constant, redirect, source
from xopt.host import int8_instructions

__all__ = ["FORMS", "layer_of", "packed_layers", "suits_here"]

Numbers = NDArray[np.float64]
# Columns of a panel, and neighbours in a sum that one instruction multiplies.
PANEL, QUAD = 32, 4
CODES = 255
# Instructions that we have a layer for -> how its products are called beside OpenVINO's.
FORMS = {
    "AVX-512 VNNI": "avx512_vnni_I8",
    "AVX-512 without VNNI": "avx512_I8",
    "AVX2 without VNNI": "avx2_I8",
}


@dataclass(frozen=True)
class Site:
    """A quantized value: ``code = source · steps + zero``, worth ``(code - offset) · step``."""

    source: Any
    steps: Numbers
    zero: Numbers
    step: float
    offset: float


@dataclass(frozen=True)
class Linear:
    """A linear layer; ``weight`` ``[out, in]`` int8, what a row is worth, bias, its layer."""

    site: Site
    weight: NDArray[np.int8]
    scale: Numbers
    bias: Numbers
    layer: int

    def folded(self) -> tuple[Numbers, Numbers]:
        """What the sum of codes times weights is multiplied by, and what is added then."""
        scale = self.scale * self.site.step
        return scale, self.bias - self.site.offset * scale * self.weight.sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class Layer:
    """One layer between the norm before it and its own last one, both without weight and bias."""

    before: Any
    last: Any
    attention: Any
    projections: tuple[Linear, Linear, Linear]
    output: Linear
    first_weight: Numbers
    first_bias: Numbers
    up: Linear
    down: Linear
    second_weight: Numbers
    second_bias: Numbers
    epsilon: float


def suits_here() -> bool:
    """Whether the instructions that we use are the fastest ones for 8-bit numbers here.

    Tiles of AMX, which OpenVINO uses, multiply more at a time. AVX VNNI was never at hand.
    """
    return int8_instructions() in FORMS


def packed_layers(openvino: Any, model: Any, factory: Any) -> int:
    """Put ``PackedLayer`` in the place of every layer of the known kind.

    Args:
        openvino: the package.
        model: ``openvino.Model`` with ``PackedAttention`` in it, changed in place.
        factory: makes our operations.

    Returns:
        How many layers were replaced.
    """
    norms = [node for node in model.get_ordered_ops() if node.get_type_name() == "MVN"]
    found = [layer for layer in map(_layer, norms) if layer is not None]
    made: dict[int, Any] = {}
    for layer in found:
        before = made.get(layer.before.get_instance_id(), layer.before)
        # Behind q, k and v: tables of distances, where there are some, and the starts.
        *tables, starts = [one.get_source_output() for one in layer.attention.inputs()[3:]]
        inputs = [before.output(0), starts, *_constants(openvino.opset13, layer), *tables]
        given, number = layer.attention.get_attributes(), layer.output.layer
        facts = {
            "number": number, "heads": given["heads"], "scale": given["scale"],
            "epsilon": layer.epsilon,
        }  # fmt: skip
        node = factory.create("PackedLayer", inputs, facts)
        node.set_friendly_name(f"layers.{number}.PackedLayer")
        redirect(layer.last, node.output(0))
        made[layer.last.get_instance_id()] = node
    model.validate_nodes_and_infer_types()
    return len(found)


def _constants(opset: Any, layer: Layer) -> list[Any]:
    """The four weights in panels, and a number for each column in the order of ``layer.h``."""
    q, k, v = layer.projections
    joint = np.concatenate([q.weight, k.weight, v.weight])
    folded = [one.folded() for one in layer.projections]
    scale, bias = (np.concatenate([pair[n] for pair in folded]) for n in (0, 1))
    output, up, down = (one.folded() for one in (layer.output, layer.up, layer.down))
    numbers = [
        q.site.steps, q.site.zero, scale, bias,
        layer.output.site.steps, layer.output.site.zero,
        output[0], output[1] + layer.first_bias, layer.first_weight,
        layer.up.site.steps, layer.up.site.zero, *up,
        layer.down.site.steps, layer.down.site.zero,
        down[0], down[1] + layer.second_bias, layer.second_weight,
    ]  # fmt: skip
    made = [opset.constant(np.concatenate(numbers).astype(np.float32))]
    for weight in (layer.down.weight, layer.up.weight, layer.output.weight, joint):
        made.insert(0, opset.constant(in_panels(weight)))
    for number, node in enumerate(made):
        # Whose layer this is, a profile reads off the names of constants.
        node.set_friendly_name(f"layers.{layer.output.layer}.packed.{number}")
    return [node.output(0) for node in made]


def in_panels(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """``[out, in]`` → ``[out / 32, in / 4, 32, 4]``."""
    rows, depth = weight.shape
    cut = weight.reshape(rows // PANEL, PANEL, depth // QUAD, QUAD)
    return np.ascontiguousarray(cut.transpose(0, 2, 1, 3))


def layer_of(weight: Any) -> int:
    """The layer that a constant is of, by the name that the plan gives it; -1 of none."""
    found = re.match(r"layers\.(\d+)\.", weight.get_friendly_name())
    return int(found[1]) if found else -1


def _layer(last: Any) -> Layer | None:
    """The layer whose last norm this is."""
    epsilon = _epsilon(last)
    second = _residual(last)
    if epsilon is None or second is None:
        return None
    down, middle, second_weight, second_bias = second
    gelu = down.site.source
    first = _residual(middle)
    if gelu.get_type_name() != "Gelu" or gelu.get_attributes()["approximation_mode"] != "ERF":
        return None
    up = _linear(source(gelu, 0))
    if up is None or first is None or up.site.source != middle or _epsilon(middle) != epsilon:
        return None
    output, before, first_weight, first_bias = first
    attention = output.site.source
    kind, positions = attention.get_type_name(), attention.get_attributes().get("positions")
    if kind != "PackedAttention" or attention.get_input_size() < 4 or positions not in (0, 3):
        return None
    three = [_linear(source(attention, number)) for number in range(3)]
    if any(one is None or one.site.source != before for one in three):
        return None
    q, k, v = (one for one in three if one is not None)
    same = all(_same_site(q.site, one.site) for one in (k, v))
    widths = {*output.weight.shape, *q.weight.shape, *k.weight.shape, *v.weight.shape}
    width = output.weight.shape[0]
    if not same or widths != {width} or width % PANEL or up.weight.shape[0] % PANEL:
        return None
    if up.weight.shape[1] != width or down.weight.shape != up.weight.shape[::-1]:
        return None
    if before.get_type_name() != "MVN" or output.layer < 0:
        return None
    return Layer(
        before, last, attention, (q, k, v), output, first_weight, first_bias, up, down,
        second_weight, second_bias, epsilon,
    )  # fmt: skip


def _same_site(a: Site, b: Site) -> bool:
    pairs = ((a.steps, b.steps), (a.zero, b.zero), (a.step, b.step), (a.offset, b.offset))
    return all(np.array_equal(one, other) for one, other in pairs)


def _epsilon(norm: Any) -> float | None:
    """Of a norm over the columns of ``[T, n]``."""
    if norm.get_type_name() != "MVN" or norm.get_output_partial_shape(0).rank.get_length() != 2:
        return None
    facts = norm.get_attributes()
    if constant(norm, 1) not in ([-1], [1]) or not facts["normalize_variance"]:
        return None
    return float(facts["eps"]) if facts["eps_mode"].upper() == "INSIDE_SQRT" else None


def _residual(norm: Any) -> tuple[Linear, Any, Numbers, Numbers] | None:
    """What a norm reads: a linear layer, and another norm with its weight and bias."""
    total = source(norm, 0, "Add")
    for mine, other in ((0, 1), (1, 0)):
        linear = total and _linear(source(total, mine))
        moved = source(total, other, "Add")
        scaled = source(moved, 0, "Multiply")
        before = source(scaled, 0, "MVN")
        if not linear or before is None:
            continue
        width = len(linear.bias)
        weight, bias = _column(scaled, width), _column(moved, width)
        if weight is not None and bias is not None:
            return linear, before, weight, bias
    return None


def _linear(total: Any) -> Linear | None:
    """``(codes − offset) · step · (weight · scale)ᵀ + bias``."""
    product = source(total, 0, "MatMul") if total.get_type_name() == "Add" else None
    if product is None:
        return None
    flags = product.get_attributes()
    scaled = source(product, 1, "Multiply")
    cast = source(scaled, 0, "Convert")
    weight, scale = source(cast, 0, "Constant"), source(scaled, 1, "Constant")
    if flags["transpose_a"] or not flags["transpose_b"] or weight is None or scale is None:
        return None
    values = weight.get_data()
    if values.dtype != np.int8 or values.ndim != 2 or np.size(scale.get_data()) != len(values):
        return None
    bias, site = _column(total, len(values)), _site(source(product, 0), values.shape[1])
    if bias is None or site is None:
        return None
    worth = np.ravel(scale.get_data()).astype(np.float64)
    return Linear(site, values, worth, bias, layer_of(weight))


def _site(node: Any, width: int) -> Site | None:
    """The quantization that a product's input is, and what leads to it column by column."""
    if node.get_type_name() == "Squeeze":
        node = source(node, 0)
    step = _scalar(source(node, 1)) if node.get_type_name() == "Multiply" else None
    if step is None:
        return None
    node, offset = source(node, 0), 0.0
    if node.get_type_name() == "Subtract":
        zero = _scalar(source(node, 1))
        node, offset = source(node, 0), np.nan if zero is None else zero
    codes = source(node, 0, "Convert") if node.get_type_name() == "Convert" else None
    if codes is None or codes.get_output_element_type(0).to_string() != "u8":
        return None
    rounded = source(codes, 0, "FakeQuantize")
    ends = [_scalar(source(rounded, number)) for number in range(1, 5)] if rounded else []
    if not np.isfinite(offset) or ends[2:] != [0, CODES] or None in ends[:2]:
        return None
    low, high = ends[0] or 0.0, ends[1] or 0.0
    if rounded.get_attributes()["levels"] != CODES + 1 or not low < high:
        return None
    steps = np.full(width, CODES / (high - low))
    moved = -low * steps
    node = source(rounded, 0)
    while node.get_type_name() in ("Unsqueeze", "Add", "Subtract", "Multiply"):
        if node.get_type_name() != "Unsqueeze":
            column = _column(node, width)
            if column is None:
                return None
            if node.get_type_name() == "Multiply":
                steps = steps * column
            else:
                moved = moved + (column if node.get_type_name() == "Add" else -column) * steps
        node = source(node, 0)
    return Site(node, steps, moved, step, offset)


def _column(node: Any, width: int) -> Numbers | None:
    """The constant at the second input, a number for each column."""
    found = source(node, 1, "Constant")
    if found is None or np.size(found.get_data()) not in (1, width):
        return None
    return np.broadcast_to(np.ravel(found.get_data()).astype(np.float64), (width,))


def _scalar(node: Any) -> float | None:
    while node.get_type_name() == "Convert":
        node = source(node, 0)
    if node.get_type_name() != "Constant" or np.size(node.get_data()) != 1:
        return None
    return float(np.ravel(node.get_data())[0])
