"""The numbers of a page, derived from its runs: nothing here draws or formats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xopt.evaluate.pareto import pareto_front
from xopt.languages import language_name, to_iso1
from xopt.report.documents import Run
from xopt.report.families import script_and_family

__all__ = ["Change", "Grid", "Point", "changes", "evals", "heat_map", "points", "titles"]


@dataclass(frozen=True)
class Point:
    """One choice in a plot of accuracy against throughput.

    Attributes:
        name: of the bundle, or of a sweep's cell.
        tokens_per_s: of the engine alone.
        score: mean over the languages, in points.
        front: whether no other choice equals or beats it in both and beats it in one.
        reference: whether it is a run's fp32 reference.
    """

    name: str
    tokens_per_s: float
    score: float
    front: bool = False
    reference: bool = False


@dataclass(frozen=True)
class Cell:
    """What one column of the heat map holds for a language; points."""

    difference: float
    low: float
    high: float
    n: int

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Grid:
    """The heat map: rows grouped by script, then family, then name.

    Attributes:
        columns: names of the evaluations.
        rows: (script, family, code, one cell or None for each column).
    """

    columns: list[str]
    rows: list[tuple[str, str, str, list[Cell | None]]]


@dataclass(frozen=True)
class Change:
    """A language in two evaluations of one task; points.

    Attributes:
        before, after: the two candidates' scores.
        noise: half the width of the 95 % interval of their difference; None where it is unknown.
    """

    code: str
    before: float
    after: float
    noise: float | None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """In words."""
        if self.noise is None:
            return "unknown"
        return "beyond noise" if abs(self.difference) > self.noise else "within noise"


def evals(runs: Sequence[Run]) -> list[Run]:
    """The evaluations among ``runs``."""
    return [run for run in runs if run.kind == "eval"]


def titles(runs: Sequence[Run]) -> list[str]:
    """A name of its own for each run: task, then what tells it from the others of that task."""
    found: list[str] = []
    for run in runs:
        task = str(run.document["task"])
        others = [r for r in runs if r.document["task"] == task]
        name = task if len(others) == 1 else f"{task} · {run.name}"
        if sum(r.name == run.name for r in others) > 1:
            name = f"{name} ({run.document['precision']}, {run.document['data']['label']})"
        found.append(name if name not in found else f"{name} #{found.count(name) + 2}")
    return found


def points(runs: Sequence[Run]) -> dict[str, list[Point]]:
    """``{task: points}``, the frontier marked.

    Scores that were measured on different data, or that are predicted for a GPU that was not there,
    stand in plots of their own.
    """
    found: dict[str, list[Point]] = {}
    for run in evals(runs):
        report = run.document
        title = f"{report['task']} on {report['data']['label']}"
        if report.get("predicted"):
            continue
        place = found.setdefault(title, [])
        fp32 = Point(
            f"fp32 reference of {run.name}",
            float(report["reference_throughput"]["tokens_per_s"]),
            float(report["mean"]["reference"]),
            reference=True,
        )
        ours = Point(
            f"{run.name} ({report['precision']})",
            float(report["throughput"]["tokens_per_s"]),
            float(report["mean"]["candidate"]),
        )
        place += [fp32, ours]
    for run in runs:
        if run.kind == "sweep":
            for target, cells in run.document["pareto"].items():
                found[f"{target}, sweep {run.document['sweep']}"] = [
                    Point(_choice(c["choice"]), float(c["tokens_per_s"]), float(c["score"]))
                    for c in cells
                ]
    marked = {}
    for title, listed in found.items():
        best = pareto_front([(p.tokens_per_s, p.score) for p in listed])
        marked[title] = [
            Point(p.name, p.tokens_per_s, p.score, n in best, p.reference)
            for n, p in enumerate(listed)
        ]
    return marked


def _choice(choice: Mapping[str, Any]) -> str:
    words = [str(choice.get("intermediate", "none")), str(choice.get("precision", ""))]
    if choice.get("student_layers"):
        words.append(f"{choice['student_layers']} layers")
    if choice.get("qat"):
        words.append("qat")
    return ", ".join(word for word in words if word)


def heat_map(runs: Sequence[Run]) -> Grid:
    """Differences to fp32 of every language in every evaluation."""
    scored = evals(runs)
    by_code: dict[str, list[Cell | None]] = {}
    for column, run in enumerate(scored):
        for code, found in run.document["languages"].items():
            row = by_code.setdefault(to_iso1(code), [None] * len(scored))
            low, high = found["ci95"]
            row[column] = Cell(float(found["difference"]), low, high, int(found["n"]))
    rows = [(*script_and_family(code), code, cells) for code, cells in by_code.items()]
    rows.sort(key=lambda row: (row[0] == "other", row[0], row[1], language_name(row[2])))
    return Grid(titles(scored), rows)


def changes(before: Run, after: Run) -> list[Change]:
    """Every language of both evaluations, and whether it changed beyond noise.

    The noise of two candidates that were compared with one reference on the same examples is taken
    as that of two independent differences, √(h₁² + h₂²) with each interval's half width h. That is
    wide where both err on the same examples, as candidates of one checkpoint mostly do. With
    another reference or other examples it is unknown.
    """
    a, b = before.document, after.document
    found = []
    for code, one in a["languages"].items():
        other = b["languages"].get(code)
        if other is None:
            continue
        prints = [d["data"].get("fingerprints", {}).get(code) for d in (a, b)]
        same = a.get("reference_bundle") == b.get("reference_bundle") and prints[0] == prints[1]
        noise = None
        if same and prints[0] is not None:
            noise = math.hypot(*((d["ci95"][1] - d["ci95"][0]) / 2 for d in (one, other)))
        found.append(Change(code, float(one["candidate"]), float(other["candidate"]), noise))
    return found
