"""The numbers of a page, derived from its runs: nothing here draws or formats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xopt.evaluate.pareto import pareto_front
from xopt.languages import language_name, to_iso1
from xopt.report.documents import Run
from xopt.report.families import script_and_family
from xopt.report.names import told_apart

__all__ = [
    "Change", "Grid", "Plot", "Point", "changes", "evals", "heat_map", "mean_change", "plots",
    "shared_codes", "sweep_titles", "titles",
]  # fmt: skip


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
class Plot:
    """Choices that were measured on one task and data, by one metric."""

    metric: str
    points: list[Point]


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
        before, after: the two candidates' scores; None where it was not scored.
        noise: half the width of the 95 % interval of their difference; None where it is unknown.
    """

    code: str
    before: float | None
    after: float | None
    noise: float | None

    @property
    def difference(self) -> float | None:
        """After minus before."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """In words."""
        if self.difference is None:
            return "only after" if self.before is None else "only before"
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
        found.append(name)
    return told_apart(found)


def sweep_titles(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """The sweeps among ``runs``, each with a name of its own."""
    sweeps = [run for run in runs if run.kind == "sweep"]
    names = Counter(run.document["sweep"] for run in sweeps)
    found = [
        run.document["sweep"] + (f" ({run.name})" if names[run.document["sweep"]] > 1 else "")
        for run in sweeps
    ]
    return list(zip(sweeps, told_apart(found), strict=True))


def plots(runs: Sequence[Run]) -> dict[str, Plot]:
    """``{title: plot}`` of accuracy against throughput, the frontier marked.

    Scores that were measured on different data, or that are predicted for a GPU that was not there,
    stand in plots of their own.
    """
    found: dict[str, Plot] = {}
    for run in evals(runs):
        report = run.document
        title = f"{report['task']} on {report['data']['label']}"
        if report.get("predicted"):
            continue
        place = found.setdefault(title, Plot(report["metric"], [])).points
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
    for run, name in sweep_titles(runs):
        metrics = run.document.get("metrics", {})
        for target, cells in run.document["pareto"].items():
            choices = _choices([cell["choice"] for cell in cells])
            listed = [
                Point(choice, float(cell["tokens_per_s"]), float(cell["score"]))
                for choice, cell in zip(choices, cells, strict=True)
            ]
            found[f"{target}, sweep {name}"] = Plot(metrics.get(target, "score"), listed)
    return {title: _marked(plot) for title, plot in found.items() if plot.points}


def _marked(plot: Plot) -> Plot:
    best = pareto_front([(p.tokens_per_s, p.score) for p in plot.points])
    names = told_apart([p.name for p in plot.points])
    return Plot(
        plot.metric,
        [
            Point(name, p.tokens_per_s, p.score, number in best, p.reference)
            for number, (name, p) in enumerate(zip(names, plot.points, strict=True))
        ],
    )


def _choices(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Choices in words: what they differ in, the intermediate task and the precision always."""
    several = [k for k in ("checkpoint", "engine") if len({c[k] for c in choices}) > 1]
    found = []
    for choice in choices:
        words = [choice["intermediate"], choice["precision"], *(choice[k] for k in several)]
        if choice.get("student_layers"):
            words.append(f"{choice['student_layers']} layers")
        if choice.get("qat"):
            words.append("qat")
        found.append(", ".join(words))
    return found


def shared_codes(codes: Iterable[str]) -> dict[str, str]:
    """Each code as other runs spell it: ISO 639-1, unless two of these codes have the same."""
    short = {code: to_iso1(code) for code in codes}
    counts = Counter(short.values())
    return {code: one if counts[one] == 1 else code for code, one in short.items()}


def heat_map(runs: Sequence[Run]) -> Grid:
    """Differences to fp32 of every language in every evaluation."""
    scored = evals(runs)
    by_code: dict[str, list[Cell | None]] = {}
    for column, run in enumerate(scored):
        languages = run.document["languages"]
        for code, shared in shared_codes(languages).items():
            found = languages[code]
            row = by_code.setdefault(shared, [None] * len(scored))
            low, high = found["ci95"]
            row[column] = Cell(float(found["difference"]), low, high, int(found["n"]))
    rows = [(*script_and_family(code), code, cells) for code, cells in by_code.items()]
    rows.sort(key=lambda row: (row[0] == "other", row[0], row[1], language_name(row[2]), row[2]))
    return Grid(titles(scored), rows)


def changes(before: Run, after: Run) -> list[Change]:
    """Every language of either evaluation, and whether it changed beyond noise.

    The noise of two candidates that were compared with one reference on the same examples is taken
    as that of two independent differences, √(h₁² + h₂²) with each interval's half width h. That is
    wide where both err on the same examples, as candidates of one checkpoint mostly do. With
    another reference, other examples, or intervals found in another way it is unknown.
    """
    sides = [run.document["languages"] for run in (before, after)]
    codes = [{shared: code for code, shared in shared_codes(side).items()} for side in sides]
    found = []
    for shared in dict.fromkeys([*codes[0], *codes[1]]):
        own = [side.get(shared) for side in codes]
        rows = [side.get(code) if code else None for side, code in zip(sides, own, strict=True)]
        one, other = (float(row["candidate"]) if row else None for row in rows)
        noise = _noise(rows) if _same_examples(before, after, own) else None
        found.append(Change(shared, one, other, noise))
    return found


def mean_change(before: Run, after: Run) -> Change | None:
    """That of the means; None unless both are over the same languages."""
    a, b = before.document, after.document
    short = [{s: c for c, s in shared_codes(d["languages"]).items()} for d in (a, b)]
    if set(short[0]) != set(short[1]):
        return None
    pairs = [[short[0][shared], short[1][shared]] for shared in short[0]]
    same = all(_same_examples(before, after, pair) for pair in pairs)
    means = [a["mean"], b["mean"]]
    noise = _noise(means) if same and all("ci95" in mean for mean in means) else None
    return Change("mean", float(means[0]["candidate"]), float(means[1]["candidate"]), noise)


def _same_examples(before: Run, after: Run, codes: Sequence[str | None]) -> bool:
    """Whether a language was compared with one reference, on the same examples, in one way."""
    documents = (before.document, after.document)
    prints = [
        document["data"].get("fingerprints", {}).get(code)
        for document, code in zip(documents, codes, strict=True)
    ]
    bundles = [document.get("reference_bundle") for document in documents]
    ways = [document.get("intervals") for document in documents]
    same = bundles[0] == bundles[1] and prints[0] == prints[1] and ways[0] == ways[1]
    return same and prints[0] is not None


def _noise(rows: Sequence[Any]) -> float:
    """Half the width of the interval of a difference of two differences."""
    return math.hypot(*((row["ci95"][1] - row["ci95"][0]) / 2 for row in rows))
