"""Our own operation in the place of a whole layer of an INT8 bundle.

Only of encoders whose norms follow the residuals (XLM-R, BERT, DeBERTa and their like), with a GELU
between the last two products. Each of the four products is INT8, bf16 or fp32, as its weight is
stored. Any other layer stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino_linear import Linear, Numbers, column_of, linear_of
from xopt.engines.openvino_match import constant, redirect, source
from xopt.host import int8_instructions

__all__ = ["form_of", "packed_layers", "suits_here"]

# Columns of a panel, and neighbours in a sum that one instruction multiplies.
PANEL, QUAD = 32, 4
# Instructions that we have a layer for -> as names beside OpenVINO's say them.
FORMS = {
    "AMX": "amx",
    "AVX-512 VNNI": "avx512_vnni",
    "AVX VNNI": "avx_vnni",
    "AVX-512 without VNNI": "avx512",
    "AVX2 without VNNI": "avx2",
}
# What a product's weight is stored in, as such names say it.
STORED = {np.int8: "I8", np.uint16: "BF16", np.float32: "F32"}


@dataclass(frozen=True)
class Layer:
    """One layer between the norm before it and its own last one, both without weight and bias."""

    before: Any
    last: Any
    attention: Any
    projections: tuple[Linear, ...]
    output: Linear
    first_weight: Numbers
    first_bias: Numbers
    up: Linear
    down: Linear
    second_weight: Numbers
    second_bias: Numbers
    epsilon: float


def suits_here() -> bool:
    """Whether we have a layer for the instructions that 8-bit numbers are multiplied with here."""
    return int8_instructions() in FORMS


def form_of(name: str) -> str:
    """What an operation of :func:`packed_layers` computes with, as ``avx512_vnni_BF16+I8``.

    Args:
        name: of the operation; OpenVINO may have put others behind it.
    """
    return f"{FORMS[int8_instructions()]}_{name.partition('PackedLayer.')[2].partition(',')[0]}"


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
        # Behind what is projected: tables of distances, where there are some, and the starts.
        behind = layer.attention.inputs()[len(layer.projections) :]
        *tables, starts = [one.get_source_output() for one in behind]
        inputs = [before.output(0), starts, *_constants(openvino.opset13, layer), *tables]
        given, number = layer.attention.get_attributes(), layer.output.layer
        facts = {
            "number": number, "heads": given["heads"], "scale": given["scale"],
            "epsilon": layer.epsilon,
        }  # fmt: skip
        node = factory.create("PackedLayer", inputs, facts)
        products = (*layer.projections, layer.output, layer.up, layer.down)
        kinds = {STORED[one.weight.dtype.type] for one in products}
        node.set_friendly_name(f"layers.{number}.PackedLayer.{'+'.join(sorted(kinds))}")
        redirect(layer.last, node.output(0))
        made[layer.last.get_instance_id()] = node
    model.validate_nodes_and_infer_types()
    return len(found)


def _constants(opset: Any, layer: Layer) -> list[Any]:
    """The four weights in panels, and a number for each column in the order of ``layer.h``."""
    q = layer.projections[0]
    joint = np.concatenate([one.weight for one in layer.projections])
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


def in_panels(weight: NDArray[np.generic]) -> NDArray[np.int8]:
    """``[out, in]`` → ``[out / 32, bytes of a row / 4, 32, 4]``."""
    read = np.ascontiguousarray(weight).view(np.int8)
    rows, depth = read.shape
    cut = read.reshape(rows // PANEL, PANEL, depth // QUAD, QUAD)
    return np.ascontiguousarray(cut.transpose(0, 2, 1, 3))


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
    up = linear_of(source(gelu, 0))
    if up is None or first is None or up.site.source != middle or _epsilon(middle) != epsilon:
        return None
    output, before, first_weight, first_bias = first
    attention = output.site.source
    kind, positions = attention.get_type_name(), attention.get_attributes().get("positions")
    if kind != "PackedAttention" or positions not in (0, 3):
        return None
    # One of three times the width, or three; then the tables of distances and the starts.
    count = attention.get_input_size() - (4 if positions == 3 else 1)
    given = [linear_of(source(attention, number)) for number in range(count)]
    read = tuple(one for one in given if one is not None and one.site.source == before)
    if count not in (1, 3) or len(read) != count or any(not _alike(read[0], one) for one in read):
        return None
    width = output.weight.shape[0]
    shapes = {
        output.weight.shape,
        *((len(one.weight) * len(read) // 3, one.weight.shape[1]) for one in read),
    }
    if shapes != {(width, width)} or width % PANEL or up.weight.shape[0] % PANEL:
        return None
    if up.weight.shape[1] != width or down.weight.shape != up.weight.shape[::-1]:
        return None
    if before.get_type_name() != "MVN" or output.layer < 0:
        return None
    return Layer(
        before, last, attention, read, output, first_weight, first_bias, up, down,
        second_weight, second_bias, epsilon,
    )  # fmt: skip


def _alike(one: Linear, other: Linear) -> bool:
    """Whether two read the same, and their weights are stored alike."""
    a, b = one.site, other.site
    pairs = ((a.steps, b.steps), (a.zero, b.zero), (a.step, b.step), (a.offset, b.offset))
    return one.weight.dtype == other.weight.dtype and all(np.array_equal(*pair) for pair in pairs)


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
        linear = total and linear_of(source(total, mine))
        moved = source(total, other, "Add")
        scaled = source(moved, 0, "Multiply")
        before = source(scaled, 0, "MVN")
        if not linear or before is None:
            continue
        width = len(linear.bias)
        weight, bias = column_of(scaled, width), column_of(moved, width)
        if weight is not None and bias is not None:
            return linear, before, weight, bias
    return None
