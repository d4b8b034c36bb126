"""Attention of a packed batch in PyTorch: every sentence by itself, whole or in windows."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from xopt.compile.relative import add_distances
from xopt.encoders.plan import Attend

__all__ = ["attend", "attend_jointly", "rotate"]

Watch = Callable[[str, Tensor], None]


def attend_jointly(op: Attend, qkv: Tensor, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
    """``[T, 3·hidden]`` -> ``[T, hidden]``; one gather serves queries, keys and values."""
    pad_index, unpad_index = arrays["pad_index"], arrays["unpad_index"]
    for name, part in zip("qkv", qkv.chunk(3, dim=-1), strict=True):
        watch(f"{op.layer}.{name}", part)
    batch, longest = pad_index.shape
    padded = F.embedding(pad_index, qkv)  # [B, S, 3·hidden]; a Gather, not a GatherND
    split = padded.view(batch, longest, 3, op.heads, op.head_dim).permute(2, 0, 3, 1, 4)
    q, k, v = (part.squeeze(0) for part in torch.split(split, 1))  # [B, heads, S, head_dim]
    scores = (q * op.scale) @ k.transpose(2, 3) + arrays["attention_bias"]
    probs = torch.softmax(scores, dim=-1)
    watch(f"{op.layer}.probs", probs)
    context = (probs @ v).permute(0, 2, 1, 3).reshape(batch * longest, -1)
    return F.embedding(unpad_index, context)


def attend(
    op: Attend, q: Tensor, k: Tensor, v: Tensor, arrays: dict[str, Tensor],
    rotation: tuple[Tensor, Tensor] | None, tables: dict[str, Tensor], distances: dict[str, Tensor],
) -> Tensor:  # fmt: skip
    """``[T, heads·head_dim]`` and twice ``[T, kv_heads·head_dim]`` -> ``[T, heads·head_dim]``.

    Args:
        op: says how.
        q: queries.
        k: keys.
        v: values.
        arrays: of the packed batch.
        rotation: cosine and sine of each token's position, ``[T, 1, head_dim]`` each.
        tables: of every term of disentangled positions.
        distances: from :class:`~xopt.compile.relative.Distances`.
    """
    if rotation is not None:
        q, k = rotate(q, op.heads, *rotation), rotate(k, op.kv_heads, *rotation)
        v = rotate(v, op.kv_heads, *rotation) if op.turns_values else v
    kind = "pad" if op.window is None else "window"
    queries = arrays["pad_index" if kind == "pad" else "window_queries"]
    keys = arrays["pad_index" if kind == "pad" else "window_keys"]
    bias = arrays["attention_bias" if kind == "pad" else "window_bias"]
    slots = arrays["unpad_index" if kind == "pad" else "window_slots"]
    blocks, size = queries.shape
    query = _heads(op, q * op.scale, queries, op.heads)
    key, value = (_heads(op, part, keys, op.kv_heads) for part in (k, v))
    if op.terms:
        bias = add_distances(op, query, key, tables, distances) + bias
    probs = torch.softmax(query @ key.transpose(2, 3) + bias, dim=-1)
    context = (probs @ value).permute(0, 2, 1, 3).reshape(blocks * size, -1)
    return F.embedding(slots, context)


def rotate(x: Tensor, heads: int, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021), the halves of a head as the two parts of each pair."""
    split = x.view(x.shape[0], heads, -1)
    first, second = split.chunk(2, dim=2)
    turned = torch.cat((-second, first), dim=-1)
    return (split * cosine + turned * sine).reshape(x.shape)


def _heads(op: Attend, x: Tensor, index: Tensor, heads: int) -> Tensor:
    """``[N, heads, slots, head_dim]``; keys and values are repeated for the queries they serve."""
    rows, slots = index.shape
    padded = F.embedding(index, x).view(rows, slots, heads, op.head_dim).permute(0, 2, 1, 3)
    if heads == op.heads:
        return padded
    wide = (rows, heads, op.heads // heads, slots, op.head_dim)
    return padded[:, :, None].expand(wide).reshape(rows, op.heads, slots, op.head_dim)
