"""The Trainer's checkpoints of a phase: one counts for as long as its mark stands in it.

The mark is the last that is written and the first that is removed. What a killed process left half
written, or half removed, therefore never looks whole: the Trainer would go on without the files
that it misses, from another state of the optimiser or of dropout.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from xopt.publishing import flush

__all__ = ["checkpoint_at", "keep_only", "mark_whole", "newest_whole", "remove_all"]

MARK = "complete"


def checkpoint_at(work: Path, step: int) -> Path:
    """Where the Trainer keeps the checkpoint of a step."""
    return work / f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    """The step that :func:`checkpoint_at` was given."""
    return int(checkpoint.name.rpartition("-")[2])


def mark_whole(checkpoint: Path) -> None:
    """Say that every file of it is written, once they are on the disk."""
    for path in checkpoint.iterdir():
        flush(path)
    (checkpoint / MARK).touch()
    flush(checkpoint)


def newest_whole(work: Path) -> tuple[Path | None, int]:
    """The last checkpoint that is whole, and its step; those that are not are removed."""
    found = {}
    for path in _all(work):
        if (path / MARK).is_file():
            found[step_of(path)] = path
        else:
            _remove(path)
    return (found[max(found)], max(found)) if found else (None, 0)


def keep_only(work: Path, steps: Collection[int]) -> None:
    """Remove the checkpoints of all other steps."""
    for path in _all(work):
        if step_of(path) not in steps:
            _remove(path)


def remove_all(work: Path) -> None:
    """Remove the folder of a phase that is through."""
    keep_only(work, ())
    shutil.rmtree(work, ignore_errors=True)


def _all(work: Path) -> list[Path]:
    return list(work.glob("checkpoint-*"))


def _remove(checkpoint: Path) -> None:
    (checkpoint / MARK).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
