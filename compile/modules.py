"""Norms and activations in PyTorch, by the names of :mod:`xopt.encoders.spec`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.encoders.spec import Activation, Norm

__all__ = ["ACTIVATE", "RootMeanSquareNorm", "make_norm"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": F.silu,
    "relu": F.relu,
    "tanh": torch.tanh,
}


class RootMeanSquareNorm(nn.Module):
    """``x / sqrt(mean(x²) + epsilon) · weight`` over the last axis (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` -> the same."""
        scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return scaled * self.weight


def make_norm(norm: Norm, width: int) -> nn.Module:
    """The module of a norm over ``width`` channels."""
    if norm.kind == "rms":
        return RootMeanSquareNorm(width, norm.epsilon)
    return nn.LayerNorm(width, eps=norm.epsilon, bias=norm.bias)
