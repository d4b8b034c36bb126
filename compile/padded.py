"""A transformers model over a padded batch, its answer laid out as the packed graph lays it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.head_spec import Head

if TYPE_CHECKING:
    import torch

__all__ = ["padded_answer"]


def padded_answer(
    model: Any,
    checkpoint: Checkpoint,
    feed: Mapping[str, torch.Tensor],
    prompts: NDArray[np.int64],
    trail: list[Any] | None = None,
) -> NDArray[np.float32]:
    """Logits, or pooled states with the modules behind the pooling.

    Args:
        model: of transformers, with its head.
        checkpoint: whose head is read.
        feed: ``input_ids``, ``attention_mask`` and what else the model takes, ``[B, S]`` each.
        prompts: ``[B]``, tokens of each text's prompt.
        trail: receives every hidden state as ``[T, hidden]``.

    Returns:
        ``[B, …]`` for ``classify`` and ``embed``, ``[T, …]`` for ``tag`` and ``span``.
    """
    import torch

    mask = feed["attention_mask"].bool()
    given = dict(feed)
    if checkpoint.is_choice:
        # Every sequence is the only choice of its question.
        given = {name: values[:, None] for name, values in feed.items()}
    with torch.inference_mode():
        out = model(**given, output_hidden_states=True)
    if trail is not None:
        trail += [state[mask] for state in out.hidden_states]
    answer: torch.Tensor
    if checkpoint.head.pooling:
        states = out.hidden_states[checkpoint.head.layer]
        answer = _pooled(states, mask, torch.from_numpy(prompts), checkpoint.head)
        if checkpoint.head.modules:
            from xopt.compile.packed_encoder import PackedEncoder

            head: Any = PackedEncoder.load(checkpoint).head
            for module in head.modules_behind:
                answer = module(answer)
    elif checkpoint.head.kind == "span":
        answer = torch.stack([out.start_logits, out.end_logits], dim=-1)[mask]
    else:
        answer = out.logits[mask] if checkpoint.head.kind == "tag" else out.logits
    found: NDArray[np.float32] = answer.numpy()
    return found


def _pooled(
    states: torch.Tensor, mask: torch.Tensor, prompts: torch.Tensor, head: Head
) -> torch.Tensor:
    """sentence-transformers' pooling of padded states ``[B, S, hidden]``."""
    import torch

    places = torch.arange(mask.shape[1])[None, :].expand(mask.shape)
    if not head.include_prompt:
        mask = mask & (places >= prompts[:, None])
    rows = torch.arange(len(states))
    weights = mask[:, :, None].float()
    parts = {
        "cls": lambda: states[rows, mask.int().argmax(1)],
        "lasttoken": lambda: states[rows, (places * mask).amax(1)],
        "max": lambda: states.masked_fill(~mask[:, :, None], -torch.inf).amax(1),
        "mean": lambda: (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9),
        "mean_sqrt_len_tokens": lambda: (
            (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9).sqrt()
        ),
        "weightedmean": lambda: (
            (states * weights * (places + 1)[:, :, None]).sum(1)
            / (weights * (places + 1)[:, :, None]).sum(1).clamp(min=1e-9)
        ),
    }
    return torch.cat([parts[mode]() for mode in head.pooling], dim=-1)
