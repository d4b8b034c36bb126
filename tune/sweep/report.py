"""A sweep's report: JSON first; the Markdown and the plots are views of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xopt.languages import language_name
from xopt.publishing import write_whole
from xopt.tune.places import by_name
from xopt.tune.sweep.cells import Plan
from xopt.tune.sweep.pareto import pareto_points, plot_pareto
from xopt.tune.sweep.run import Outcome
from xopt.tune.sweep.steps import write_json
from xopt.tune.sweep.table import make_document

__all__ = ["detail_rows", "render_tables", "table_rows", "table_title", "write_report"]


def write_report(plan: Plan, outcome: Outcome, folder: Path, command: str) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``pareto.png`` and ``pareto.svg``.

    They can be published: folders stand in them by their names alone.

    Args:
        plan: what was to be done.
        outcome: what was.
        folder: the sweep's.
        command: what fills such a folder again, without places.

    Returns:
        The report.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    points = pareto_points(outcome.results)
    whole = make_document(plan.experiment.name, outcome.results) | {
        "pareto": points,
        "open": [cell.label for cell in outcome.open],
        "left_out": list(plan.left_out),
        "failures": [_unplaced(asdict(failure), plan, folder) for failure in outcome.failures],
        "experiment": asdict(plan.experiment),
        "data": sorted({result["data"]["label"] for result in outcome.results}),
        "host": outcome.results[0]["host"] if outcome.results else None,
        "command": command,
    }
    document: dict[str, Any] = by_name(whole)
    write_json(folder / "report.json", document)
    write_whole(folder / "report.md", render_tables(document))
    if points:
        for ending in ("png", "svg"):
            plot_pareto(points, folder / f"pareto.{ending}")
    return document


def render_tables(document: Mapping[str, Any]) -> str:
    """Markdown: each table, its worst languages, throughput and retention."""
    lines = [f"# {document['sweep']}", ""]
    lines += [f"- {name}: {metric}" for name, metric in document["metrics"].items()]
    lines += [f"- data: {label}" for label in document["data"]]
    lines += [f"- reproduce: `{document['command']}`", ""]
    for table in document["tables"]:
        lines += [f"## {table_title(table)}", "", *_markdown(*table_rows(table, document)), ""]
        lines += ["Worst language, throughput and size:", ""]
        lines += [*_markdown(*detail_rows(table, document)), ""]
    if document["pareto"]:
        lines += ["## Accuracy against throughput", "", "![Pareto](pareto.svg)", ""]
    for title, key in (("Open cells", "open"), ("Left out", "left_out")):
        if document[key]:
            lines += [f"## {title}", "", *(f"- {entry}" for entry in document[key]), ""]
    if document["failures"]:
        lines += ["## Failed", ""]
        lines += [f"- {f['step']}: {' '.join(f['message'].split())}" for f in document["failures"]]
        lines.append("")
    return "\n".join(lines)


def table_title(table: Mapping[str, Any]) -> str:
    """What a table has one value of."""
    words = [Path(table["checkpoint"]).name, f"{table['precision']} on {table['engine']}"]
    words += [f"{table['student_layers']} layers"] if table["student_layers"] else []
    return ", ".join([*words, "QAT"] if table["qat"] else words)


def table_rows(
    table: Mapping[str, Any], document: Mapping[str, Any]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: intermediate tasks by target tasks, the average last."""
    head = ["intermediate task", *document["targets"], "average"]
    rows = []
    for row in table["rows"]:
        cells = [row["targets"].get(target) for target in document["targets"]]
        shown = [_score(cell, row["difference"]) for cell in [*cells, row["average"]]]
        rows.append([row["intermediate"], *shown])
    return head, rows


def detail_rows(
    table: Mapping[str, Any], document: Mapping[str, Any]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: one for each intermediate and target task."""
    head = ["intermediate task", "target", "score", "worst language", "tokens/s", "sentences/s",
            "MiB", "against fp32", "its worst language"]  # fmt: skip
    rows = []
    for row in table["rows"]:
        for target, cell in row["targets"].items():
            kept = cell.get("retention")
            rows.append(
                [
                    row["intermediate"],
                    target,
                    f"{cell['absolute']:.2f}",
                    _worst(cell["worst"], signed=row["difference"]),
                    *(_rate(cell[name]) for name in ("tokens_per_s", "sentences_per_s")),
                    f"{cell['size_mib']:.1f}",
                    f"{kept['mean']:+.2f}" if kept else "",
                    _worst(kept["worst"], signed=True) if kept else "",
                ]
            )
    return head, rows


def _unplaced(failure: dict[str, str], plan: Plan, folder: Path) -> dict[str, str]:
    """A failure whose message names the sweep's own folders without where they lie."""
    message = failure["message"]
    for place in (plan.experiment.data, *plan.experiment.checkpoints, str(folder.resolve())):
        if place and Path(place).is_absolute():
            message = message.replace(place, Path(place).name)
    return failure | {"message": message}


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _worst(found: Mapping[str, Any], *, signed: bool) -> str:
    value = f"{found['value']:+.2f}" if signed else f"{found['value']:.2f}"
    return f"{language_name(found['language'])} {value}"


def _score(cell: Mapping[str, Any] | None, difference: bool) -> str:
    """``71.20 ± 0.31``, or ``+1.10 ± 0.42``; a dash where there is nothing."""
    if cell is None:
        return "-"
    text = f"{cell['mean']:+.2f}" if difference else f"{cell['mean']:.2f}"
    if cell["ci95"] is None:
        return text
    return f"{text} ± {(cell['ci95'][1] - cell['ci95'][0]) / 2:.2f}"


def _markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    line = "|" + "|".join(["---", *["--:"] * (len(head) - 1)]) + "|"
    return [f"| {' | '.join(head)} |", line, *(f"| {' | '.join(row)} |" for row in rows)]
