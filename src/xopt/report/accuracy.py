"""The sections on accuracy: summary, heat map, differences, tables, and two runs compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from xopt.card import stress_of
from xopt.languages import language_name, names_of
from xopt.report.documents import Run
from xopt.report.figures import Cell as Scored
from xopt.report.figures import Change, changes, evals, heat_map, mean_change, plots, titles
from xopt.report.parts import Cell, Group, Part, Row, Section, Table, cell, number, plain_table
from xopt.report.plots import draw_differences, draw_points

__all__ = ["change_section", "heat_section", "language_section", "pareto_section", "summary"]

# Points of difference above which a cell is shaded, and shaded more.
SHADES = (0.25, 0.5, 1.0)


def summary(runs: Sequence[Run]) -> Section:
    """One row for each evaluation."""
    rows = []
    scored = evals(runs)
    for run, title in zip(scored, titles(scored), strict=True):
        report = run.document
        mean, worst = report["mean"], report["worst"]
        found = report["languages"][worst["language"]]
        rows.append(
            Row(
                [
                    cell(title + (" (predicted)" if report.get("predicted") else "")),
                    number(len(report["languages"]), ".0f"),
                    number(sum(f["n"] for f in report["languages"].values()), ",.0f"),
                    number(mean["reference"]),
                    number(mean["candidate"]),
                    number(mean["difference"], "+.2f"),
                    Cell(f"{names_of(report['languages'])[worst['language']]} {_interval(found)}"),
                    number(_faster(report), ".2f") if not report.get("predicted") else cell("–"),
                ]
            )
        )
    columns = ["evaluation", "languages", "examples", "fp32", "bundle", "difference"]
    table = plain_table(
        "Mean over languages, in points. Faster: the engine alone beside fp32 in the same run, on "
        "the same texts, in turn.",
        [*columns, "worst language", "faster ×"],
        rows,
        sortable=True,
    )
    lines = [f"{task} was not scored: {why}" for run in scored for task, why in run.skipped.items()]
    if any(r.document["data"]["kind"] == "sample" for r in scored):
        lines.append(
            "Rows on xopt's own sample are never to be compared with published XTREME scores."
        )
    earlier = [t for r, t in zip(scored, titles(scored), strict=True) if _earlier(r.document)]
    if earlier:
        lines.append(
            f"{'; '.join(earlier)}: intervals of an earlier xopt (before 2026-11-29), too narrow "
            "where few answers turned over. xopt eval finds them anew."
        )
    return Section("summary", "Summary", list(dict.fromkeys(lines)), [table])


def _faster(report: Mapping[str, Any]) -> float:
    """How many times the reference's speed; of documents before 2026-11-29, from runs apart."""
    if "in_turn" in report:
        return float(report["in_turn"]["faster"])
    ours, theirs = report["throughput"], report["reference_throughput"]
    return float(ours["tokens_per_s"] / theirs["tokens_per_s"])


def _earlier(report: Mapping[str, Any]) -> bool:
    """Whether its intervals were found without two examples more."""
    return "intervals" not in report


def pareto_section(runs: Sequence[Run]) -> Section:
    """Accuracy against throughput, one plot for each task and data."""
    parts = []
    for title, plot in plots(runs).items():
        legend = [
            f"{p.name}: {p.score:.2f}, {p.tokens_per_s:,.0f} tokens/s"
            + (" (frontier)" if p.front else "")
            for p in plot.points
        ]
        svg = draw_points(plot.points, title, plot.metric)
        parts.append(Part(heading=title, svg=svg, legend=legend))
    lines = [
        "A point on the dashed frontier is beaten by no other in both accuracy and throughput. "
        "Squares are fp32 references. Speeds of different machines are not to be compared."
    ]
    return Section("tradeoff", "Accuracy against throughput", lines if parts else [], parts)


def heat_section(runs: Sequence[Run]) -> Section:
    """The differences of all languages, grouped by script and family."""
    grid = heat_map(runs)
    names = names_of(code for _, _, code, _ in grid.rows)
    groups = []
    for (script, family), rows in groupby(grid.rows, key=lambda row: row[:2]):
        listed = [
            Row([cell(names[code]), *(_shaded(found) for found in cells)])
            for _, _, code, cells in rows
        ]
        groups.append(Group(listed, f"{script} · {family}"))
    worst = [
        (found.difference, names[code], grid.columns[column])
        for _, _, code, cells in grid.rows
        for column, found in enumerate(cells)
        if found is not None
    ]
    lines = [
        "Points that the bundle answers better (+) or worse (−) than its fp32 reference. "
        "▲ and ▼ mark a 95 % interval that leaves out zero; hover for the interval."
    ]
    if worst:
        difference, name, column = min(worst)
        lines.append(f"Worst of all: {name}, {_signed(difference)} points in {column}.")
    table = Table("Difference to fp32, points", ["language", *grid.columns], groups)
    return Section("heat", "What each language lost", lines, [Part(table=table)])


def language_section(runs: Sequence[Run]) -> Section:
    """Every evaluation: the differences drawn, then all figures in a table."""
    parts: list[Part] = []
    scored = evals(runs)
    for run, title in zip(scored, titles(scored), strict=True):
        report = run.document
        parts += [
            Part(
                heading=title,
                svg=draw_differences(report["languages"], title),
                caption=_measured(report),
            ),
            _language_table(report, title),
        ]
    return Section("languages", "Every language", [], parts)


def change_section(runs: Sequence[Run]) -> Section:
    """Each evaluation beside the one of the same task before it."""
    parts: list[Part] = []
    latest: dict[str, tuple[Run, str]] = {}
    scored = evals(runs)
    for run, title in zip(scored, titles(scored), strict=True):
        task = run.document["task"]
        if task in latest:
            before, name = latest[task]
            found = changes(before, run)
            names = names_of(change.code for change in found)
            rows = [_change_row(change, names[change.code]) for change in found]
            mean = mean_change(before, run)
            rows += [_change_row(mean, "mean", strong=True)] if mean else []
            columns = ["language", "before", "after", "change", "± noise", "verdict"]
            parts.append(plain_table(f"{name} → {title}", columns, rows, sortable=True))
        latest[task] = (run, title)
    lines = [
        "The noise of a change is that of two independent differences to the same reference, "
        "√(h₁² + h₂²) of the half widths of their 95 % intervals. It is unknown (–) where the "
        "references, the examples or the way to an interval differ, and for a language that only "
        "one of them scored."
    ]
    return Section("changes", "What changed between runs", lines if parts else [], parts)


def _change_row(change: Change, name: str, *, strong: bool = False) -> Row:
    figures = (change.before, change.after)
    cells = [cell("–") if value is None else number(value) for value in figures]
    moved = cell("–") if change.difference is None else number(change.difference, "+.2f")
    noise = cell("–") if change.noise is None else number(change.noise)
    return Row([cell(name), *cells, moved, noise, cell(change.verdict)], strong)


def _language_table(report: Mapping[str, Any], title: str) -> Part:
    rows = [
        Row(
            [
                cell(f"{language_name(code)} ({code})"),
                number(found["n"], ",.0f"),
                number(found["reference"]),
                number(found["candidate"]),
                number(found["difference"], "+.2f"),
                Cell(_interval(found)),
                number(100 * found["agreement"], ".1f") if "agreement" in found else cell("–"),
            ]
        )
        for code, found in report["languages"].items()
    ]
    means = {"mean": report["mean"]}
    means |= stress_of(report)
    for name, mean in means.items():
        figures = [number(mean["reference"]), number(mean["candidate"])]
        last = [cell(name), cell(""), *figures, number(mean["difference"], "+.2f")]
        interval = cell(_pair(mean["ci95"])) if "ci95" in mean else cell("")
        rows.append(Row([*last, interval, cell("")], strong=name == "mean"))
    columns = ["language", "n", "fp32", "bundle", "difference", "95 % interval", "same answer, %"]
    return plain_table(f"{title}: {report['metric']}", columns, rows, sortable=True)


def _measured(report: Mapping[str, Any]) -> str:
    said = f"{report['metric']} on {report['data']['label']}."
    if report.get("predicted"):
        said += " Predicted: answered on a CPU from the bundle's own graph."
    return said


def _shaded(found: Scored | None) -> Cell:
    if found is None:
        return Cell("")
    depth = sum(abs(found.difference) > bound for bound in SHADES)
    shade = f"{'b' if found.difference < 0 else 'g'}{depth}" if depth else ""
    mark = (" ▼" if found.difference < 0 else " ▲") if found.sure else ""
    hover = f"95 % interval {_pair([found.low, found.high])}, {found.n:,} examples"
    return Cell(_signed(found.difference) + mark, found.difference, shade, hover)


def _interval(found: Mapping[str, Any]) -> str:
    return f"{_signed(found['difference'])} {_pair(found['ci95'])}"


def _pair(ends: Sequence[float]) -> str:
    return f"[{_signed(ends[0])}, {_signed(ends[1])}]"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
