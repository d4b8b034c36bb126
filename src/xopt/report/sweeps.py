"""The section on sweeps: what each intermediate task did to each target, at each precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xopt.languages import language_name
from xopt.report.documents import Run
from xopt.report.figures import sweep_titles
from xopt.report.parts import Cell, Part, Row, Section, cell, plain_table

__all__ = ["sweep_section"]

AVERAGE = "average"


def sweep_section(runs: Sequence[Run]) -> Section:
    """One table for each checkpoint, precision, engine and depth of a sweep."""
    parts: list[Part] = []
    for run, name in sweep_titles(runs):
        document = run.document
        parts.append(Part(heading=f"Sweep {name}"))
        parts += [_table(found, document["targets"], name) for found in document["tables"]]
        facts = [("open", cell) for cell in document.get("open", ())]
        facts += [("left out", reason) for reason in document.get("left_out", ())]
        facts += [("failed", f"{f['step']}: {f['message']}") for f in document.get("failures", ())]
        parts += [Part(facts=facts)] if facts else []
    lines = [
        "Means over seeds, in points, with 95 % intervals (Student's t). The first row is the "
        "score without an intermediate task, the rows below are differences to it."
    ]
    return Section("sweep", "Intermediate tasks", lines if parts else [], parts)


def _table(found: Mapping[str, Any], targets: Sequence[str], title: str) -> Part:
    columns = [*targets, *([AVERAGE] if len(targets) > 1 else [])]
    rows = []
    for row in found["rows"]:
        cells = []
        for name in columns:
            score = row.get(AVERAGE) if name == AVERAGE else row["targets"].get(name)
            cells.append(_score(score, row["difference"]))
        rows.append(Row([cell(row["intermediate"]), *cells]))
    extra = [f"{found['student_layers']} layers"] if found.get("student_layers") else []
    extra += ["quantization-aware"] if found.get("qat") else []
    caption = ", ".join(
        [f"{title}: {found['checkpoint']}, {found['precision']} on {found['engine']}", *extra]
    )
    return plain_table(caption, ["intermediate task", *columns], rows, sortable=True)


def _score(score: Mapping[str, Any] | None, difference: bool) -> Cell:
    if score is None or score.get("mean") is None:
        return cell("–")
    mean, ends = score["mean"], score.get("ci95")
    text = format(mean, "+.2f" if difference else ".2f").replace("-", "−")
    sure = difference and ends is not None and (ends[0] > 0 or ends[1] < 0)
    mark = "" if not sure else (" ▲" if mean > 0 else " ▼")
    half = f" ± {(ends[1] - ends[0]) / 2:.2f}" if ends is not None else ""
    worst = score.get("worst")
    hover = (
        f"worst language: {language_name(worst['language'])} {worst['value']:.2f}" if worst else ""
    )
    return Cell(text + half + mark, mean, hover=hover)
