"""The heads in PyTorch over a packed batch: what the encoder's states are turned into."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.compile.checkpoint import EncoderConfig, Head

__all__ = ["head_inputs", "make_head"]


def head_inputs(head: Head) -> set[str]:
    """The arrays of the packed batch that the head itself reads."""
    names = set()
    if head.kind in ("classify", "embed"):
        names.add("cu_seqlens")
    if head.pooling == "mean":
        names |= {"pad_index", "attention_bias"}
    return names


def make_head(config: EncoderConfig, head: Head) -> nn.Module:
    """The module ``(states [T, hidden], arrays) -> answer`` of this head."""
    match head.kind:
        case "classify":
            return ClassifyHead(config, len(head.labels))
        case "embed":
            return EmbedHead(head.pooling or "mean")
        case _:
            return TokenHead(config, len(head.labels))


class ClassifyHead(nn.Module):
    """tanh(dense(first token)) -> logits ``[B, labels]``."""

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)
        self.output = nn.Linear(config.hidden, labels)

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[B, labels]``."""
        first = F.embedding(arrays["cu_seqlens"][:-1], x)
        logits: Tensor = self.output(torch.tanh(self.dense(first)))
        return logits


class TokenHead(nn.Module):
    """One linear layer per token: tags, or the start and end of a span."""

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        super().__init__()
        self.output = nn.Linear(config.hidden, labels)

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[T, labels]``."""
        logits: Tensor = self.output(x)
        return logits


class EmbedHead(nn.Module):
    """Mean over a sentence's tokens, special ones included, or its first token."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[B, hidden]``."""
        starts = arrays["cu_seqlens"]
        if self.pooling == "cls":
            return F.embedding(starts[:-1], x)
        real = (arrays["attention_bias"][:, 0, 0, :] >= 0).to(x.dtype)[:, :, None]  # [B, S, 1]
        padded = F.embedding(arrays["pad_index"], x) * real
        lengths = (starts[1:] - starts[:-1]).to(x.dtype)
        return padded.sum(dim=1) / lengths[:, None]
