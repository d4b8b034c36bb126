"""A linear layer in 8-bit numbers: computed once here, written by every target in its own way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Affine", "QuantizedLinear", "quantize_rows", "round_to_nearest", "row_scales"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """How a site becomes 8-bit numbers: ``q = round((x - middle) / divisor / step) + zero``.

    Attributes:
        step: of the 8-bit numbers.
        zero: the number that stands for 0: 0 to 255 of unsigned numbers, 0 of signed ones.
        divisor: ``[in]``, SmoothQuant's.
        middle: ``[in]``.
    """

    step: float
    zero: int
    divisor: Array
    middle: Array

    @classmethod
    def over(cls, low: float, high: float, divisor: Array, middle: Array) -> Affine:
        """The 256 unsigned steps that cover ``[low, high]``, widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / 255 or 1.0
        return cls(step, round(-low / step), divisor, middle)


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer behind a site that is rounded by :class:`Affine`.

    Attributes:
        how: its input is rounded.
        values: ``[out, in]`` int8.
        scales: ``[out]``; ``values · scales`` is the weight times the divisor.
        correction: ``[out]``, added to the bias: what rounding moved, and the middle.
    """

    how: Affine
    values: NDArray[np.int8]
    scales: Array
    correction: Array

    @property
    def taken(self) -> Array:
        """``[out]``: what the product lacks without the middle, in steps of the weight."""
        moved = np.asarray(self.how.middle / self.how.divisor, np.float32)
        return np.asarray(self.values.astype(np.float32) @ moved, np.float32)

    def rows(self, chosen: slice) -> QuantizedLinear:
        """Some of its outputs."""
        return replace(
            self,
            values=self.values[chosen],
            scales=self.scales[chosen],
            correction=self.correction[chosen],
        )


def round_to_nearest(weight: Array, how: Affine, pair_sum: int = 0) -> QuantizedLinear:
    """``[out, in]`` in its nearest steps; the middle comes back through them."""
    values, scales = quantize_rows(weight * how.divisor[None, :], pair_sum=pair_sum)
    found = QuantizedLinear(how, values, scales, scales)
    return replace(found, correction=(found.taken * scales).astype(np.float32))


def quantize_rows(values: NDArray[Any], *, pair_sum: int = 0) -> tuple[NDArray[np.int8], Array]:
    """Symmetric INT8 with one scale per row.

    Args:
        values: ``[rows, columns]`` float32.
        pair_sum: as in :func:`row_scales`.

    Returns:
        ``[rows, columns]`` int8 within ±127 and ``[rows]`` float32, ``values ≈ int8 · scale``.
    """
    quantized = np.empty(values.shape, np.int8)
    scales = np.empty(len(values), np.float32)
    # In slices, so that a table of 250,000 rows needs no second fp32 copy of itself.
    for start in range(0, len(values), 8192):
        part = np.asarray(values[start : start + 8192], np.float32)
        scale = row_scales(part, pair_sum=pair_sum)
        quantized[start : start + 8192] = np.rint(part / scale[:, None])
        scales[start : start + 8192] = scale
    return quantized, scales


def row_scales(weight: NDArray[Any], *, levels: int = 127, pair_sum: int = 0) -> Array:
    """The step of each row of ``[out, in]``, the smallest that no weight or pair oversteps.

    Args:
        weight: ``[out, in]``.
        levels: steps on one side of zero.
        pair_sum: most that the columns 2k and 2k + 1 of a row may sum to where they have one sign;
            0 for no bound.
    """
    scales = np.abs(weight).max(axis=1) / np.float32(levels)
    if pair_sum:
        for sign in (1, -1):
            side = np.maximum(sign * weight, 0)
            even = side[:, 0 : side.shape[1] // 2 * 2 : 2]
            pairs = (even + side[:, 1::2]).max(axis=1, initial=0)
            # Each of the two may be rounded up by half a step.
            scales = np.maximum(scales, pairs / np.float32(pair_sum - 1))
    scales[scales == 0] = 1
    return np.asarray(scales, np.float32)
