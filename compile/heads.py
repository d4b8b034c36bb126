"""The heads in PyTorch over a packed batch: what the encoder's states are turned into."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from xopt.compile.checkpoint import Head
from xopt.compile.modules import ACTIVATE, make_norm
from xopt.encoders.spec import EncoderSpec, HeadForm

__all__ = ["head_inputs", "make_head"]


def head_inputs(head: Head) -> set[str]:
    """The arrays of the packed batch that the head itself reads."""
    names = set()
    if head.kind in ("classify", "embed"):
        names.add("cu_seqlens")
    if head.pooling == "mean" or (head.form is not None and head.form.pool in ("mean", "late")):
        names |= {"pad_index", "attention_bias"}
    return names


def make_head(config: EncoderSpec, head: Head) -> nn.Module:
    """The module ``(states [T, hidden], arrays) -> answer`` of this head."""
    if head.form is None:
        return EmbedHead(head.pooling or "mean")
    return LabelHead(config.hidden, head.form, len(head.labels))


class LabelHead(nn.Module):
    """Logits of each token ``[T, labels]`` or of each sentence ``[B, labels]``.

    Pool, dense layer, activation, norm, output: each where the form says so. ``late`` pools last.
    """

    def __init__(self, hidden: int, form: HeadForm, labels: int) -> None:
        super().__init__()
        self.form = form
        if form.activation is not None:
            self.dense = nn.Linear(hidden, hidden)
        if form.norm is not None:
            self.norm = make_norm(form.norm, hidden)
        self.output = nn.Linear(hidden, labels)

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[T, labels]`` or ``[B, labels]``."""
        if self.form.pool == "first":
            x = F.embedding(arrays["cu_seqlens"][:-1], x)
        elif self.form.pool == "mean":
            x = mean_of_tokens(x, arrays)
        if self.form.activation is not None:
            x = ACTIVATE[self.form.activation](self.dense(x))
        if self.form.norm is not None:
            x = self.norm(x)
        logits: Tensor = self.output(x)
        return mean_of_tokens(logits, arrays) if self.form.pool == "late" else logits


class EmbedHead(nn.Module):
    """Mean over a sentence's tokens, special ones included, or its first token."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[B, hidden]``."""
        if self.pooling == "cls":
            return F.embedding(arrays["cu_seqlens"][:-1], x)
        return mean_of_tokens(x, arrays)


def mean_of_tokens(x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """``[T, width]`` -> ``[B, width]``: the mean of each sentence's tokens."""
    starts = arrays["cu_seqlens"]
    real = (arrays["attention_bias"][:, 0, 0, :] >= 0).to(x.dtype)[:, :, None]  # [B, S, 1]
    padded = F.embedding(arrays["pad_index"], x) * real
    lengths = (starts[1:] - starts[:-1]).to(x.dtype)
    return padded.sum(dim=1) / lengths[:, None]
