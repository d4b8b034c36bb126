"""Rounding a weight matrix to INT8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["quantize_rows"]


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
