"""Rounding a weight matrix to INT8, and the steps that fp16 can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF", "in_half", "quantize_rows", "weight_step"]

HALF = np.finfo(np.float16)


def quantize_rows(values: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric INT8 with one scale per row.

    Args:
        values: ``[rows, columns]`` float32.

    Returns:
        ``[rows, columns]`` int8 within ±127 and ``[rows]`` float32, ``values ≈ int8 · scale``.
    """
    quantized = np.empty(values.shape, np.int8)
    scales = np.empty(len(values), np.float32)
    # In slices, so that a table of 250,000 rows needs no second fp32 copy of itself.
    for start in range(0, len(values), 8192):
        part = np.asarray(values[start : start + 8192], np.float32)
        scale = np.abs(part).max(axis=1) / np.float32(127)
        scale[scale == 0] = 1
        quantized[start : start + 8192] = np.rint(part / scale[:, None])
        scales[start : start + 8192] = scale
    return quantized, scales


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
