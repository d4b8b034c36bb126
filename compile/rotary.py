"""Rotary positions (Su et al., 2021) of a checkpoint: tables of angles, and one order of rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from xopt.encoders.plan import Attend, Op
from xopt.encoders.spec import EncoderSpec

__all__ = ["rotary_table", "rotary_tables", "rotations", "table_shapes", "turn_rows"]

# Of a checkpoint that holds its angles: sines, then cosines.
STORED = "rotary.table.weight"


def rotations(ops: Iterable[Op]) -> list[float]:
    """The bases of all rotary positions, in the order in which layers first have them."""
    bases = [op.theta for op in ops if isinstance(op, Attend) and op.theta is not None]
    return list(dict.fromkeys(bases))


def table_shapes(spec: EncoderSpec, ops: Iterable[Op]) -> dict[str, tuple[int, ...]]:
    """The angles that the checkpoint itself must have, by our name."""
    stored = spec.stored_angles and rotations(ops)
    return {STORED: (spec.max_tokens, spec.head_dim)} if stored else {}


def rotary_tables(
    spec: EncoderSpec, ops: Iterable[Op], found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Cosines and sines for every base, by our names.

    Args:
        spec: the encoder.
        ops: its plan.
        found: all its tensors, from which the stored angles are taken.
    """
    tables: dict[str, Tensor] = {}
    for number, theta in enumerate(rotations(ops)):
        if spec.stored_angles:
            sine, cosine = (torch.cat([half, half], 1) for half in found.pop(STORED).chunk(2, 1))
        else:
            cosine, sine = rotary_table(spec, theta)
        tables |= {f"rotary.{number}.cos": cosine, f"rotary.{number}.sin": sine}
    return tables


def rotary_table(spec: EncoderSpec, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, ``[max_tokens, head_dim]`` each.

    Angles are made in fp32, as transformers does: at position 8,000 the rounding of an angle is
    as large as what this project allows between two answers.
    """
    steps = torch.arange(0, spec.head_dim, 2, dtype=torch.float32) / spec.head_dim
    frequencies = 1.0 / (theta**steps)
    angles = torch.arange(spec.max_tokens, dtype=torch.float32)[:, None] * frequencies
    both = torch.cat([angles, angles], dim=1)
    return both.cos(), both.sin()


def turn_rows(ops: Iterable[Op], found: dict[str, Tensor]) -> None:
    """Values that are rotated together: from neighbours to half a head apart.

    Scores are sums over a head, so its values may stand in any order that queries and keys share.
    Where values are rotated, the columns that read the context follow.
    """
    for op in (op for op in ops if isinstance(op, Attend)):
        inner = torch.arange(op.head_dim).view(-1, 2).T.flatten()
        for part, heads in (("q", op.heads), ("k", op.kv_heads), ("v", op.kv_heads)):
            if part == "v" and not op.turns_values:
                continue
            order = (torch.arange(heads)[:, None] * op.head_dim + inner).flatten()
            for name in (f"{op.layer}.{part}.{kind}" for kind in ("weight", "bias")):
                if name in found:
                    found[name] = found[name][order]
        if op.turns_values:
            order = (torch.arange(op.heads)[:, None] * op.head_dim + inner).flatten()
            name = f"{op.layer}.attention_output.weight"
            found[name] = found[name][:, order]
