"""The heads in PyTorch over a packed batch: what the encoder's states are turned into."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.compile import head_spec
from xopt.compile.head_spec import Head
from xopt.compile.modules import ACTIVATE, make_norm
from xopt.encoders.spec import EncoderSpec, HeadForm

__all__ = ["head_inputs", "make_head"]

# Modes that read the first or the last token alone.
SINGLE = ("cls", "lasttoken")
# sentence-transformers divides by no less.
LEAST = 1e-9


def head_inputs(head: Head) -> set[str]:
    """The arrays of the packed batch that the head itself reads."""
    names = {"cu_seqlens"} if head.kind in ("classify", "embed") else set()
    averages = head.form is not None and head.form.pool in ("mean", "late")
    if averages or set(head.pooling) - set(SINGLE):
        names |= {"pad_index", "attention_bias"}
    if not head.include_prompt and set(head.pooling) - {"lasttoken"}:
        names.add("prompt_tokens")
    return names


def make_head(config: EncoderSpec, head: Head) -> nn.Module:
    """The module ``(states [T, hidden], arrays) -> answer`` of this head."""
    if head.form is None:
        return EmbedHead(head)
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
    """The pooled states, and the modules behind the pooling."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.pool = Pooling(head.pooling, head.include_prompt)
        self.modules_behind = nn.ModuleList(_module(module) for module in head.modules)

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[B, width]``."""
        x = self.pool(x, arrays)
        for module in self.modules_behind:
            x = module(x)
        return x


class Pooling(nn.Module):
    """As sentence-transformers' module of this name; special tokens are pooled too.

    Where the prompt is left out, its tokens keep their places in the weights of ``weightedmean``,
    and ``cls`` is the first token behind it.
    """

    def __init__(self, modes: tuple[str, ...], include_prompt: bool) -> None:
        super().__init__()
        self.modes, self.include_prompt = modes, include_prompt

    def forward(self, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
        """``[T, hidden]`` -> ``[B, modes · hidden]``."""
        starts, ends = arrays["cu_seqlens"][:-1], arrays["cu_seqlens"][1:]
        padded = real = within = None
        if set(self.modes) - set(SINGLE):
            real = arrays["attention_bias"][:, 0, 0, :] >= 0  # [B, S]
            padded = F.embedding(arrays["pad_index"], x)  # [B, S, hidden]
            if "weightedmean" in self.modes or not self.include_prompt:
                within = arrays["pad_index"] - starts[:, None]  # [B, S]; right where it is real
            if not self.include_prompt:
                assert within is not None
                real = real & (within >= arrays["prompt_tokens"][:, None])
        pooled = []
        for mode in self.modes:
            if mode == "cls":
                first = starts
                if not self.include_prompt:
                    prompt = arrays["prompt_tokens"]
                    first = starts + torch.where(prompt < ends - starts, prompt, 0)
                pooled.append(F.embedding(first, x))
            elif mode == "lasttoken":
                pooled.append(F.embedding(ends - 1, x))
            else:
                assert padded is not None
                assert real is not None
                pooled.append(_over_tokens(mode, padded, real, within))
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)


def _over_tokens(mode: str, padded: Tensor, real: Tensor, within: Tensor | None) -> Tensor:
    """``[B, S, hidden]`` -> ``[B, hidden]``, over the slots that are real."""
    if mode == "max":
        lowest = torch.finfo(padded.dtype).min
        return padded.masked_fill(~real[:, :, None], lowest).amax(dim=1)
    weights = real.to(padded.dtype)
    if mode == "weightedmean":
        assert within is not None
        weights = weights * (within + 1).to(padded.dtype)
    # A text that ends within its prompt has nothing to pool, and becomes 0.
    total = weights.sum(dim=1, keepdim=True).clamp(min=LEAST)
    if mode == "mean_sqrt_len_tokens":
        total = total.sqrt()
    return (padded * weights[:, :, None]).sum(dim=1) / total


class Dense(nn.Module):
    """See :class:`xopt.compile.head_spec.Dense`. A bias that is not there is zero."""

    def __init__(self, spec: head_spec.Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.inputs, spec.outputs)
        # Over the sentence's values, which torch would also choose, with a warning.
        over = {"dim": -1} if spec.activation in ("LogSoftmax", "Softmax", "Softmin") else {}
        self.activation = getattr(nn, spec.activation)(**over)
        self.adds = spec.residual
        self.residual: nn.Linear | None = None
        if spec.projects_residual:
            self.residual = nn.Linear(spec.inputs, spec.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs]`` -> ``[B, outputs]``."""
        out: Tensor = self.activation(self.linear(x))
        if self.adds:
            out = out + (x if self.residual is None else self.residual(x))
        return out


class Norm(nn.Module):
    """LayerNorm of an embedding."""

    def __init__(self, spec: head_spec.LayerNorm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.width, eps=spec.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width]``."""
        out: Tensor = self.norm(x)
        return out


class Unit(nn.Module):
    """To length 1."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width]``."""
        return F.normalize(x, p=2.0, dim=-1)


class Cut(nn.Module):
    """The first values alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """``[B, n]`` -> ``[B, width]``."""
        return x[:, : self.width]


def _module(spec: head_spec.HeadModule) -> nn.Module:
    match spec:
        case head_spec.Dense():
            return Dense(spec)
        case head_spec.LayerNorm():
            return Norm(spec)
        case head_spec.Normalize():
            return Unit()
        case head_spec.Truncate():
            return Cut(spec.width)


def mean_of_tokens(x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """``[T, width]`` -> ``[B, width]``: the mean of each sentence's tokens."""
    starts = arrays["cu_seqlens"]
    real = (arrays["attention_bias"][:, 0, 0, :] >= 0).to(x.dtype)[:, :, None]  # [B, S, 1]
    padded = F.embedding(arrays["pad_index"], x) * real
    lengths = (starts[1:] - starts[:-1]).to(x.dtype)
    return padded.sum(dim=1) / lengths[:, None]
