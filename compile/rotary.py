"""Rotary positions (Su et al., 2021) of a checkpoint: tables of angles, and one order of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from xopt.encoders.plan import Attend, Op
from xopt.encoders.spec import EncoderSpec, Rotary

__all__ = ["rotary_table", "rotary_tables", "rotations", "table_shapes", "turn_rows"]

# Of a checkpoint that holds its angles: sines, then cosines.
STORED = "rotary.table.weight"


def rotations(ops: Iterable[Op]) -> list[Rotary]:
    """All rotary positions, in the order in which layers first have them."""
    found = [op.rotary for op in ops if isinstance(op, Attend) and op.rotary is not None]
    return list(dict.fromkeys(found))


def table_shapes(spec: EncoderSpec, ops: Iterable[Op]) -> dict[str, tuple[int, ...]]:
    """The angles that the checkpoint itself must have, by our name."""
    stored = spec.stored_angles and rotations(ops)
    return {STORED: (spec.max_tokens, spec.head_dim)} if stored else {}


def rotary_tables(
    spec: EncoderSpec, ops: Iterable[Op], found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Cosines and sines of all rotary positions, by our names.

    Args:
        spec: the encoder.
        ops: its plan.
        found: all its tensors, from which the stored angles are taken.
    """
    tables: dict[str, Tensor] = {}
    for number, rotary in enumerate(rotations(ops)):
        if spec.stored_angles:
            sine, cosine = (torch.cat([half, half], 1) for half in found.pop(STORED).chunk(2, 1))
        else:
            cosine, sine = rotary_table(spec, rotary)
        tables |= {f"rotary.{number}.cos": cosine, f"rotary.{number}.sin": sine}
    return tables


def rotary_table(spec: EncoderSpec, rotary: Rotary) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, ``[max_tokens, head_dim]`` each.

    Angles are made in fp32, as transformers does: at position 8,000 the rounding of an angle is
    as large as what this project allows between two answers.
    """
    frequencies = _frequencies(rotary, spec.head_dim)
    angles = torch.arange(spec.max_tokens, dtype=torch.float32)[:, None] * frequencies
    both = torch.cat([angles, angles], dim=1)
    return both.cos() * rotary.gain, both.sin() * rotary.gain


def _frequencies(rotary: Rotary, width: int) -> Tensor:
    """Angle of each pair from one position to the next, ``[width / 2]``."""
    powers = rotary.theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    plain, divided = 1.0 / powers, 1.0 / (rotary.factor * powers)
    match rotary.scaling:
        case "linear":
            return plain / rotary.factor
        case "llama3":
            turns = rotary.trained / (2 * math.pi / plain)
            kept = ((turns - rotary.slow) / (rotary.fast - rotary.slow)).clamp(0, 1)
        case "yarn":
            kept = 1 - _ramp(rotary, width)
        case None:
            return plain
    return divided * (1 - kept) + plain * kept


def _ramp(rotary: Rotary, width: int) -> Tensor:
    """How far each pair is on the way from those that turn fast to those that turn slowly."""

    def pair(turns: float) -> float:
        """The place among the pairs of one with so many turns over the trained length."""
        length = math.log(rotary.trained / (turns * 2 * math.pi))
        return width * length / (2 * math.log(rotary.theta))

    first, last = pair(rotary.fast), pair(rotary.slow)
    if rotary.whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    places = torch.arange(width // 2, dtype=torch.float32)
    return ((places - first) / ((last - first) or 0.001)).clamp(0, 1)


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
