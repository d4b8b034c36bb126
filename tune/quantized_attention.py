"""Attention with q, k, v and the probabilities in 8 bits, as transformers calls it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xopt.tune.quantizers import SignedQuantizer

__all__ = ["ATTENTION", "AttentionQuantizer", "use_quantized_attention"]

# The module's name within a layer's self-attention.
ATTENTION = "attention_quantizer"
# What transformers calls this form of attention.
NAME = "xopt_int8"


class AttentionQuantizer(nn.Module):
    """``softmax(q · kᵀ) · v`` in steps, without the mean of the values.

    Args:
        q: rounds queries ``[..., heads · d]``.
        k: keys, without their mean: it moves all scores of a query alike.
        v: values, without their mean, which the layer behind attention takes into its bias.
        probs: the step of the probabilities.
        factor: of the scores; 1 where it is in the queries.
    """

    def __init__(
        self,
        q: SignedQuantizer,
        k: SignedQuantizer,
        v: SignedQuantizer,
        *,
        probs: float,
        factor: float,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v = q, k, v
        self.probs = SignedQuantizer(probs)
        self.factor = factor

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float
    ) -> Tensor:
        """The context ``[B, S, heads, d]`` of ``[B, heads, S, d]`` and what is added to scores."""
        q, k, v = (
            _heads(part.moved(_rows(values)), values)
            for part, values in zip((self.q, self.k, self.v), (q, k, v), strict=True)
        )
        scores = q @ k.transpose(2, 3) * self.factor
        if mask is not None:
            scores = scores + mask
        probs = self.probs(torch.softmax(scores, dim=-1))
        probs = nn.functional.dropout(probs, dropout, self.training)
        # Back behind the divisor of the context, if it is in the values.
        mixed = _rows(probs @ v) / self.v.factor
        return _heads(mixed, v).transpose(1, 2)


def _rows(values: Tensor) -> Tensor:
    """``[B, heads, S, d]`` -> ``[B, S, heads · d]``."""
    return values.transpose(1, 2).flatten(2)


def _heads(rows: Tensor, like: Tensor) -> Tensor:
    """``[B, S, heads · d]`` -> ``[B, heads, S, d]``."""
    return rows.view(*rows.shape[:2], like.shape[1], like.shape[3]).transpose(1, 2)


def use_quantized_attention(model: Any) -> None:
    """Send a transformers model's attention through each layer's :data:`ATTENTION` module."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    quantizer = module.get_submodule(ATTENTION)
    return quantizer(query, key, value, attention_mask, dropout), None
