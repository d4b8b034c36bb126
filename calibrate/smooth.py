"""SmoothQuant (Xiao et al., 2023): move outliers of the activations into the weights.

For a linear layer ``y = x W^T`` and input channel j, ``s_j = max|x_j|^α / max|W_j|^(1-α)``; the
layer then reads ``x / s`` and its weight's columns are multiplied by ``s``: the same product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["smoothing"]


def smoothing(
    activations: NDArray[np.float32], weights: NDArray[np.float32], alpha: float
) -> NDArray[np.float32]:
    """The divisor of each input channel.

    Args:
        activations: ``[in]``, largest absolute value seen in each channel.
        weights: ``[in]``, largest absolute weight in each column.
        alpha: how much of the difficulty moves to the weights, 0 to 1.

    Returns:
        ``[in]`` float32 with geometric mean 1; a channel that never fires or is never read gets 1.
    """
    act = np.maximum(activations.astype(np.float64), 1e-5)
    weight = np.maximum(weights.astype(np.float64), 1e-5)
    divisor = act**alpha / weight ** (1 - alpha)
    divisor /= np.exp(np.log(divisor).mean())
    idle = (activations <= 0) | (weights <= 0)
    return np.where(idle, 1.0, np.clip(divisor, 1e-3, 1e3)).astype(np.float32)
