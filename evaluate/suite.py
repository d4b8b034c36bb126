"""Several tasks in one document, with XTREME's means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xopt.evaluate.metrics.aggregate import GROUPS, aggregate
from xopt.evaluate.statistics import loses_more
from xopt.languages import to_iso1

__all__ = ["combine_reports", "data_labels", "retention_gate", "split_languages"]

SIDES = ("reference", "candidate", "difference")


def combine_reports(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Reports of single tasks and ``{"task", "skipped"}`` entries as one JSON object.

    Returns:
        ``tasks`` as given; ``groups`` and ``average`` with reference, candidate and difference, or
        None where a task of theirs is missing or was measured on other data than the rest.
    """
    done = [entry for entry in entries if "skipped" not in entry]
    groups: dict[str, dict[str, float] | None] = dict.fromkeys(GROUPS)
    average = None
    for label in data_labels(done):
        sides = {
            side: aggregate(
                {e["task"]: e["mean"][side] for e in done if e["data"]["label"] == label}
            )
            for side in SIDES
        }
        for name in GROUPS:
            means = {side: found["groups"][name] for side, found in sides.items()}
            groups[name] = groups[name] or _together(means)
        average = average or _together({side: found["average"] for side, found in sides.items()})
    return {"tasks": [dict(entry) for entry in entries], "groups": groups, "average": average}


def retention_gate(
    entries: Sequence[Mapping[str, Any]], max_drop: float | None
) -> dict[str, Any] | None:
    """What failed: languages that lost more than ``max_drop`` points, and tasks without a score.

    A task that has none of the asked languages (``absent``) can lose none of them.

    Returns:
        ``max_drop``, ``passed`` and ``failed``; None where no gate was asked for.
    """
    if max_drop is None:
        return None
    failed = []
    for entry in (e for e in entries if not e.get("absent")):
        prefix = f"{entry['task']} " if len(entries) > 1 else ""
        if "skipped" in entry:
            failed.append(f"{prefix}(not scored)")
            continue
        failed += [
            f"{prefix}{code}"
            for code, found in entry["languages"].items()
            if loses_more(found["difference"], max_drop)
        ]
    return {"max_drop": max_drop, "passed": not failed, "failed": failed}


def data_labels(done: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the reports were measured on, each once."""
    return list(dict.fromkeys(entry["data"]["label"] for entry in done))


def split_languages(asked: Iterable[str], available: Iterable[str]) -> tuple[list[str], list[str]]:
    """The asked codes that ``available`` holds, in either spelling, and those that it does not."""
    known = {to_iso1(code) for code in available}
    held = [code for code in asked if to_iso1(code) in known]
    return held, [code for code in asked if code not in held]


def _together(means: Mapping[str, float | None]) -> dict[str, float] | None:
    known = {side: value for side, value in means.items() if value is not None}
    return known if len(known) == len(means) else None
