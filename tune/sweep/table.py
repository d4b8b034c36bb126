"""The paper's kind of table: the first row as it is, every other as its difference to that one.

Differences are paired over seeds: the same seed with and without the intermediate task. Intervals
are of Student's t over the seeds; one seed has none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xopt.tune.sweep.experiment import NONE

__all__ = ["FIXED", "interval", "make_document", "together"]

Result = Mapping[str, Any]
# The axes that a table has one value of.
FIXED = ("checkpoint", "precision", "engine", "student_layers", "qat")


def interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean of ``values``; None for fewer than two."""
    from scipy import stats

    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    reach = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return [mean - reach, mean + reach]


def make_document(name: str, results: Iterable[Result]) -> dict[str, Any]:
    """All tables of a sweep: a JSON object.

    Args:
        name: of the sweep.
        results: finished cells, as :func:`~xopt.tune.sweep.run.collect` gives them.

    Returns:
        ``tables``, one for each checkpoint, precision, engine, student and QAT: ``rows`` of
        ``intermediate``, ``difference`` (false for absolute scores), ``targets`` by name and
        ``average`` over all targets of the sweep, None where one is missing.
    """
    found = list(results)
    targets = list(dict.fromkeys(r["cell"]["target"] for r in found))
    tables = []
    for fixed, group in _grouped(found, FIXED):
        rows = [rows_of for _, rows_of in _grouped(group, ("intermediate",))]
        base = next((row for row in rows if row[0]["cell"]["intermediate"] == NONE), None)
        ordered = ([base] if base else []) + [row for row in rows if row is not base]
        tables.append(
            dict(zip(FIXED, fixed, strict=True))
            | {"rows": [_row(row, base if row is not base else None, targets) for row in ordered]}
        )
    metrics = {r["cell"]["target"]: r["metric"] for r in found}
    return {
        "schema": "xopt-sweep/1",
        "sweep": name,
        "targets": targets,
        "metrics": metrics,
        "tables": tables,
    }


def _grouped(
    results: Sequence[Result], keys: Sequence[str]
) -> list[tuple[tuple[Any, ...], list[Result]]]:
    """By the values of ``keys``, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result["cell"][key] for key in keys), []).append(result)
    return list(groups.items())


def _row(row: Sequence[Result], base: Sequence[Result] | None, targets: list[str]) -> Result:
    """One intermediate task; differences to ``base`` where there is one."""
    cells: dict[str, Any] = {}
    for target in targets:
        ours = _by_seed(row, target)
        theirs = None if base is None else _by_seed(base, target)
        shared = [s for s in ours if theirs is None or s in theirs]
        if shared:
            others = None if theirs is None else [theirs[s] for s in shared]
            cells[target] = _cell([ours[s] for s in shared], others, shared)
    return {
        "intermediate": row[0]["cell"]["intermediate"],
        "difference": base is not None,
        "targets": cells,
        "average": _average(cells, targets),
    }


def _by_seed(results: Sequence[Result], target: str) -> dict[int, Result]:
    return {r["cell"]["seed"]: r for r in results if r["cell"]["target"] == target}


def _cell(
    ours: Sequence[Result], theirs: Sequence[Result] | None, seeds: Sequence[int]
) -> dict[str, Any]:
    """Mean over seeds, its interval, the worst language, throughput and retention."""
    against: Sequence[Result | None] = theirs or [None] * len(ours)
    values = [r["mean"] - (b["mean"] if b else 0.0) for r, b in zip(ours, against, strict=True)]
    by_language = {
        code: _mean(
            r["languages"][code]["score"] - (b["languages"][code]["score"] if b else 0.0)
            for r, b in zip(ours, against, strict=True)
        )
        for code in ours[0]["languages"]
    }
    worst = min(by_language, key=lambda code: by_language[code])
    cell: dict[str, Any] = {
        "mean": _mean(values),
        "ci95": interval(values),
        "seeds": dict(zip(map(str, seeds), values, strict=True)),
        "absolute": _mean(r["mean"] for r in ours),
        "worst": {"language": worst, "value": by_language[worst]},
        "languages": by_language,
        "tokens_per_s": together(ours, "tokens", "tokens_per_s"),
        "sentences_per_s": together(ours, "sentences", "sentences_per_s"),
        "size_mib": _mean(r["bundle"]["size_mib"] for r in ours),
    }
    if all("retention" in r for r in ours):
        kept = {
            code: _mean(r["retention"]["languages"][code]["difference"] for r in ours)
            for code in ours[0]["languages"]
        }
        lost = min(kept, key=lambda code: kept[code])
        cell["retention"] = {
            "mean": _mean(r["retention"]["mean"] for r in ours),
            "worst": {"language": lost, "value": kept[lost]},
        }
    return cell


def together(results: Iterable[Result], count: str, rate: str) -> float | None:
    """A rate over several runs: all that was counted by all the time it took; None if unknown."""
    found = [r["throughput"] for r in results]
    if None in found:
        return None
    seconds = sum(f[count] / f[rate] for f in found if f[rate] > 0)
    return sum(f[count] for f in found) / seconds if seconds > 0 else 0.0


def _average(cells: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any] | None:
    """Over the targets, seed by seed; None where a target or a seed of one is missing."""
    if len(cells) < len(targets):
        return None
    seeds = [list(cells[target]["seeds"]) for target in targets]
    if any(other != seeds[0] for other in seeds):
        return None
    values = [_mean(cells[target]["seeds"][seed] for target in targets) for seed in seeds[0]]
    return {
        "mean": _mean(values),
        "ci95": interval(values),
        "absolute": _mean(cells[target]["absolute"] for target in targets),
    }


def _mean(values: Iterable[float]) -> float:
    first, second = itertools.tee(values)
    return math.fsum(first) / sum(1 for _ in second)
