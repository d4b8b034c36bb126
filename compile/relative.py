"""Disentangled positions (DeBERTa; He et al., 2021) over a packed batch, in PyTorch.

A score gains a product with a learned vector of the distance of its two tokens. The vectors of a
layer are its projections of one table, which hold for every text, so they are made when a
checkpoint is read. A distance is the same along each diagonal: a query is multiplied with the
vectors of all distances there are, and a gather puts each product where its key stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.encoders.plan import Attend, Op
from xopt.encoders.spec import EncoderSpec, Relative
from xopt.errors import CheckpointError

__all__ = ["Distances", "add_distances", "distance_rows", "project_tables", "relative_shapes"]

# The projection of the content that a shared table of each term goes through.
CONTENT = {"c2p": "k", "p2c": "q"}


def distance_rows(relative: Relative, max_tokens: int) -> Tensor:
    """``[2 · max_tokens]``: the table's row of the distances ``max_tokens - 1`` … ``-max_tokens``.

    In transformers' operations and in fp32, whose rounding says where a bucket ends.

    Raises:
        CheckpointError: the numbers of buckets and of the reach give no scale.
    """
    distance = torch.arange(max_tokens - 1, -max_tokens - 1, -1)
    middle = relative.rows // 2
    if relative.buckets is not None:
        half = relative.buckets // 2
        near = (distance < half) & (distance > -half)
        far = torch.where(near, torch.tensor(half - 1), distance.abs())
        step = torch.log(torch.tensor((relative.reach - 1) / half))
        scaled = torch.ceil(torch.log(far / half) / step * (half - 1)) + half
        found = torch.where(far <= half, distance.float(), scaled * distance.sign())
        if not torch.isfinite(found).all():
            raise CheckpointError(
                f"{relative.buckets} position_buckets that reach to {relative.reach} tokens give "
                "no logarithmic scale."
            )
        distance = found.long()
    return (distance + middle).clamp(0, relative.rows - 1)


class Distances(nn.Module):
    """Which distances a batch has, and where their products stand."""

    def __init__(self, relative: Relative, max_tokens: int) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.rows: Tensor
        self.register_buffer("rows", torch.empty(2 * max_tokens, dtype=torch.int64))

    def forward(self, longest: int) -> dict[str, Tensor]:
        """For texts of up to S tokens.

        Returns:
            ``rows``, ``[2·S]``: of the distances S - 1 … -S; and for each term ``[S·S]``, from a
            pair (query, key) to its product among ``[S, 2·S]``: of a query in ``c2p``, of a key in
            ``p2c``.
        """
        rows = self.rows[self.max_tokens - longest : self.max_tokens + longest]
        places = torch.arange(longest, device=rows.device)
        query, key = places[:, None], places[None, :]
        column = key + (longest - 1) - query
        return {
            "rows": rows,
            "c2p": (query * (2 * longest) + column).flatten(),
            "p2c": (key * (2 * longest) + column).flatten(),
        }


def add_distances(
    op: Attend, query: Tensor, key: Tensor, tables: dict[str, Tensor], found: dict[str, Tensor]
) -> Tensor:
    """``[B, heads, S, S]``: what the distances add to the scores.

    Args:
        op: says which terms.
        query: ``[B, heads, S, head_dim]``, with the scale of the scores.
        key: ``[B, heads, S, head_dim]``, without that scale.
        tables: of each term, ``[rows, heads·head_dim]``; that of ``p2c`` has the scale.
        found: from :class:`Distances`.
    """
    batch, _, longest, _ = query.shape
    parts = []
    for term in op.terms:
        vectors = F.embedding(found["rows"], tables[term])  # [2·S, heads·head_dim]
        split = vectors.view(2 * longest, op.heads, op.head_dim).permute(1, 2, 0)
        products = (query if term == "c2p" else key) @ split  # [B, heads, S, 2·S]
        flat = torch.index_select(products.flatten(2), 2, found[term])
        parts.append(flat.view(batch, op.heads, longest, longest))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def relative_shapes(spec: EncoderSpec, ops: tuple[Op, ...]) -> dict[str, tuple[int, ...]]:
    """The tensors of disentangled positions in a checkpoint, by our names."""
    relative, width = spec.relative, spec.heads * spec.head_dim
    layers = [op.layer for op in ops if isinstance(op, Attend) and op.terms]
    if relative is None or not layers:
        return {}
    found: dict[str, tuple[int, ...]] = {"relative.table.weight": (relative.rows, spec.hidden)}
    if relative.norm is not None:
        found |= {f"relative.norm.{part}": (spec.hidden,) for part in ("weight", "bias")}
    if not relative.shared:
        for name in (f"{layer}.{term}" for layer in layers for term in relative.terms):
            found |= {f"{name}.weight": (width, spec.hidden), f"{name}.bias": (width,)}
    return found


def project_tables(
    spec: EncoderSpec, ops: tuple[Op, ...], found: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Each layer's tables, in place of the checkpoint's one and its projections.

    Args:
        spec: the encoder.
        ops: its plan.
        found: all its tensors, from which those that only make the tables are taken.
    """
    relative = spec.relative
    if relative is None or "relative.table.weight" not in found:
        return
    table = found.pop("relative.table.weight")
    if relative.norm is not None:
        weight, bias = (found.pop(f"relative.norm.{part}") for part in ("weight", "bias"))
        table = F.layer_norm(table, (spec.hidden,), weight, bias, relative.norm.epsilon)
    for op in (op for op in ops if isinstance(op, Attend)):
        for term in op.terms:
            name = f"{op.layer}.{CONTENT[term] if relative.shared else term}"
            weight, bias = found[f"{name}.weight"], found[f"{name}.bias"]
            if not relative.shared:
                del found[f"{name}.weight"], found[f"{name}.bias"]
            vectors = F.linear(table, weight, bias)
            yield f"{op.layer}.{term}.weight", vectors * op.scale if term == "p2c" else vectors
    yield "distances.rows", distance_rows(relative, spec.max_tokens)
