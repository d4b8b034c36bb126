"""The steps that fp16 can hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF", "in_half", "weight_step"]

HALF = np.finfo(np.float16)


def in_half(value: np.float32) -> np.float32:
    """The nearest normal number of fp16, so that both sides of a product round alike."""
    return np.float32(np.float16(max(value, np.float32(HALF.tiny))))


def weight_step(
    rows: NDArray[np.int8], scales: NDArray[np.float32], step: np.float32
) -> np.float32:
    """The one step of a weight's dequantization: nothing that it lets through overflows fp16.

    The product leaves TensorRT's kernel as fp16, in units of ``step`` times this; the largest
    accumulator is 127 times the largest sum of absolute weights in a row.
    """
    largest = 127 * np.abs(rows.astype(np.int32)).sum(axis=1).max()
    bound = np.float32(HALF.max / 2 / (max(largest, 1) * step))
    return in_half(min(np.float32(scales.max()), bound))
