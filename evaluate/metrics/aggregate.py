"""XTREME's own means: over languages, over tasks, and over the four groups of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["GROUPS", "aggregate"]

GROUPS: dict[str, tuple[str, ...]] = {
    "classification": ("xnli", "pawsx"),
    "tagging": ("udpos", "panx"),
    "qa": ("xquad", "mlqa", "tydiqa"),
    "retrieval": ("bucc2018", "tatoeba"),
}


def aggregate(scores: Mapping[str, float]) -> dict[str, Any]:
    """Group means and the mean of the nine.

    Args:
        scores: task -> its mean over languages, question answering as (F1 + EM) / 2.

    Returns:
        ``groups`` and ``average``; None where a task of theirs is missing, because a mean over
        fewer tasks is another number.
    """
    return {
        "groups": {name: _mean(scores, tasks) for name, tasks in GROUPS.items()},
        "average": _mean(scores, tuple(task for tasks in GROUPS.values() for task in tasks)),
    }


def _mean(scores: Mapping[str, float], tasks: tuple[str, ...]) -> float | None:
    if any(task not in scores for task in tasks):
        return None
    return sum(scores[task] for task in tasks) / len(tasks)
