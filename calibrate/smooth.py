"""SmoothQuant (Xiao et al., 2023): move outliers of the activations into the weights.

For a linear layer ``y = x W^T`` and input channel j, ``s_j = max|x_j|^α / max|W_j|^(1-α)``; the
layer then reads ``x / s`` and its weight's columns are multiplied by ``s``: the same product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROOM", "STRENGTH", "smoothing", "with_headroom"]

# Share of the channels that the large one is not below.
LARGE = 0.9
# Of unsigned numbers, by the error on texts that calibrate nothing (docs/int8.md): room as a share
# of the recipe's, and what α is multiplied by. Behind an activation function α is 1.
ROOM = {"ffn_act": 1.0, "context": 0.5}
STRENGTH = {"ffn_in": 0.75}


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


def with_headroom(ends: Any, share: float) -> Any:
    """Ends of the channels that texts outside the sample should not leave.

    What a channel showed in few texts says little of it: behind a GELU a word that was not among
    them drives a quiet channel far beyond its end. So each end is the root of its square and that
    of ``share`` of a large channel's (the 90 % quantile); large channels hardly change.

    Args:
        ends: ``[2, channels]`` float32 tensor, the lowest and the highest value seen.
        share: 0 or more.

    Returns:
        As ``ends``, no end closer to 0.
    """
    import torch

    reach = (ends * torch.tensor([[-1.0], [1.0]])).clamp_min(0)
    floor = share * reach.quantile(LARGE, dim=1, keepdim=True)
    wide = (reach.square() + floor.square()).sqrt()
    return torch.stack((-wide[0], wide[1]))
