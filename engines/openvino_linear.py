"""Reading OpenVINO's graph: one linear layer of an INT8 bundle, and what it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino_match import source

__all__ = ["Linear", "Numbers", "Site", "column_of", "layer_of", "linear_of"]

Numbers = NDArray[np.float64]
CODES = 255


@dataclass(frozen=True)
class Site:
    """What a product reads: ``code = source · steps + zero``, worth ``(code - offset) · step``.

    Where it is not quantized a code is its value.
    """

    source: Any
    steps: Numbers
    zero: Numbers
    step: float
    offset: float


@dataclass(frozen=True)
class Linear:
    """A linear layer; ``weight`` ``[out, in]``, what a row is worth, bias, its layer.

    The weight is int8, float32, or uint16 with the bits of bf16.
    """

    site: Site
    weight: NDArray[np.generic]
    scale: Numbers
    bias: Numbers
    layer: int

    def folded(self) -> tuple[Numbers, Numbers]:
        """What the sum of codes times weights is multiplied by, and what is added then."""
        scale = self.scale * self.site.step
        if not self.site.offset:
            return scale, self.bias
        return scale, self.bias - self.site.offset * scale * self.weight.sum(axis=1, dtype=np.int64)


def linear_of(total: Any) -> Linear | None:
    """``(codes − offset) · step · (weight · scale)ᵀ + bias``, or of what is not quantized."""
    product = source(total, 0, "MatMul") if total.get_type_name() == "Add" else None
    if product is None:
        return None
    flags = product.get_attributes()
    found = _weight(source(product, 1))
    if flags["transpose_a"] or not flags["transpose_b"] or found is None:
        return None
    values, scale, layer = found
    if values.ndim != 2 or np.size(scale) not in (1, len(values)):
        return None
    bias = column_of(total, len(values))
    site = (_site if values.dtype == np.int8 else _plain)(source(product, 0), values.shape[1])
    if bias is None or site is None:
        return None
    return Linear(site, values, np.broadcast_to(scale, (len(values),)), bias, layer)


def _weight(node: Any) -> tuple[NDArray[np.generic], Numbers, int] | None:
    """A weight as it is stored, what its rows are worth, and its layer."""
    scale, kinds = np.ones(1), {"f32": np.float32, "bf16": np.uint16}
    if node.get_type_name() == "Multiply":
        worth, node = source(node, 1, "Constant"), source(node, 0, "Convert")
        if worth is None or node is None:
            return None
        scale, kinds = np.ravel(worth.get_data()).astype(np.float64), {"i8": np.int8}
    held = source(node, 0, "Constant") if node.get_type_name() == "Convert" else node
    if held is None or held.get_type_name() != "Constant":
        return None
    kind = kinds.get(held.get_element_type().to_string())
    if kind is None:
        return None
    # OpenVINO gives bf16 as bits that it calls float16.
    return held.get_data().view(kind), scale, layer_of(held)


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
    inverse = CODES / (high - low)
    read, steps, moved = _columns(source(rounded, 0), width, inverse, -low * inverse)
    return None if read is None else Site(read, steps, moved, step, offset)


def _plain(node: Any, width: int) -> Site | None:
    """A product's input that is not quantized, and what leads to it column by column."""
    read, steps, moved = _columns(node, width, 1.0, 0.0)
    return None if read is None else Site(read, steps, moved, 1.0, 0.0)


def _columns(node: Any, width: int, steps: float, moved: float) -> tuple[Any, Numbers, Numbers]:
    """What leads to a node, ``steps`` and ``moved`` as if behind it, column by column.

    None as the source where it is not known column by column.
    """
    by, to = np.full(width, steps), np.full(width, moved)
    while node.get_type_name() in ("Unsqueeze", "Add", "Subtract", "Multiply"):
        if node.get_type_name() != "Unsqueeze":
            column = column_of(node, width)
            if column is None:
                return None, by, to
            if node.get_type_name() == "Multiply":
                by = by * column
            else:
                to = to + (column if node.get_type_name() == "Add" else -column) * by
        node = source(node, 0)
    return node, by, to


def layer_of(weight: Any) -> int:
    """The layer that a constant is of, by the name that the plan gives it; -1 of none."""
    found = re.match(r"layers\.(\d+)\.", weight.get_friendly_name())
    return int(found[1]) if found else -1


def column_of(node: Any, width: int) -> Numbers | None:
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
