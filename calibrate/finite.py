"""What calibration runs; a value that is no number is named with its text and its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xopt.calibrate.sampling import Sample
from xopt.errors import CheckpointError
from xopt.packing import PackedBatch, pack, plan_batches

__all__ = ["check_numbers", "packed"]

BATCH_TOKENS = 2048


def check_numbers(
    site: str, values: Any, batch: PackedBatch, rows: Sequence[tuple[str, ...]]
) -> None:
    """Refuse what has no range.

    Args:
        site: as ``layers.3.ffn_act``.
        values: what was seen there, ``[T, ...]`` in most places.
        batch: that was run.
        rows: of :class:`Sample`, for each of its sentences.

    Raises:
        CheckpointError: a value is NaN or infinite.
    """
    wrong = ~values.isfinite()
    if not wrong.any():
        return
    which = ""
    if len(values) == batch.tokens:
        row = int(wrong.reshape(len(values), -1).any(dim=1).nonzero()[0])
        sentence = int(np.searchsorted(batch.cu_seqlens, row, side="right")) - 1
        language, *texts = rows[sentence]
        named = " and ".join(f"{text!r:.60}" for text in texts)
        which = f" for the text {named} ({language})"
    raise CheckpointError(
        f"Calibration met values that are no numbers{which}: {site} is NaN or infinite.",
        hint="The checkpoint itself answers so, in fp32: it cannot be quantized. Save it again.",
    )


def packed(
    sample: Sample, first_position: int
) -> tuple[list[PackedBatch], list[list[tuple[str, ...]]]]:
    """The batches of a sample, and the rows of each."""
    lengths = [len(e) for e in sample.encodings]
    plans = plan_batches(lengths, BATCH_TOKENS)
    batches = [
        pack([sample.encodings[i] for i in chosen], first_position=first_position)
        for chosen in plans
    ]
    return batches, [[sample.rows[i] for i in chosen] for chosen in plans]
