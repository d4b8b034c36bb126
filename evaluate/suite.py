"""Several tasks in one document, with XTREME's means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xopt.evaluate.metrics.aggregate import aggregate

__all__ = ["combine_reports"]


def combine_reports(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reports of single tasks and ``{"task", "skipped"}`` entries as one JSON object.

    Returns:
        ``tasks`` as given; ``groups`` and ``average`` with reference, candidate and difference, or
        None where a task of theirs is missing.
    """
    done = [entry for entry in entries if "skipped" not in entry]
    sides = {
        side: aggregate({entry["task"]: entry["mean"][side] for entry in done})
        for side in ("reference", "candidate", "difference")
    }
    groups = {
        name: _together({side: means["groups"][name] for side, means in sides.items()})
        for name in sides["reference"]["groups"]
    }
    average = _together({side: means["average"] for side, means in sides.items()})
    return {"tasks": [dict(entry) for entry in entries], "groups": groups, "average": average}


def _together(means: Mapping[str, float | None]) -> dict[str, float] | None:
    known = {side: value for side, value in means.items() if value is not None}
    return known if len(known) == len(means) else None
