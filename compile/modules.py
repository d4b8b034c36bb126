"""Parts of encoders in PyTorch, by the names of :mod:`xopt.encoders.spec`."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.encoders.spec import EncoderSpec, Norm
from xopt.engines.activate import ACTIVATE

__all__ = ["ACTIVATE", "RootMeanSquareNorm", "Rotation", "make_norm", "multiply"]


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


class Rotation(nn.Module):
    """Cosine and sine of every position's angles."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.cos: Tensor
        self.sin: Tensor
        for name in ("cos", "sin"):
            self.register_buffer(name, torch.empty(spec.max_tokens, spec.head_dim))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """``[T]`` -> twice ``[T, 1, head_dim]``."""
        cosine, sine = (F.embedding(positions, table) for table in (self.cos, self.sin))
        return cosine[:, None], sine[:, None]


def multiply(layer: nn.Module, x: Tensor) -> Tensor:
    """What ``layer``, a linear one, gives for ``[T, inputs]``.

    oneDNN's fp32 product takes half the time of MKL's, which PyTorch takes by itself, on AMD's CPUs
    with AVX-512. The operator is what ``torch.compile`` emits; where it is not, the layer is run.
    """
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    product = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if built else None
    if product is None:
        return cast("Tensor", layer(x))
    return cast("Tensor", product(x, layer.weight, layer.bias, "none", [], ""))
