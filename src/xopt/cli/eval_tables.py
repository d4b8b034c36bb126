"""The tables of ``xopt eval``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from xopt.card import asked_behind, part_lines, prediction, retention_rows, stress_of
from xopt.cli.output import console, table
from xopt.evaluate.suite import data_labels
from xopt.languages import language_name

__all__ = ["show_gate", "show_report", "show_suite"]

METRIC_WIDTH = 14
SAMPLE = "sample: a few examples a language, written for xopt: not comparable with XTREME's scores"
FAMILIES = (
    "; each sentence is looked for among those that differ in more than a detail, and in the last "
    "row, a stress test, among all"
)


def show_report(report: Mapping[str, Any], bundle: str) -> None:
    """One task: every language, then the speed."""
    out = console()
    _say_sample([report], alone=True)
    table(
        f"{report['task']}: {report['metric']} retained by {bundle} on {report['data']['label']}",
        ["language", "n", "fp32", report["precision"], "difference", "95 % interval", "agreement"],
        retention_rows(report),
    )
    worst = report["worst"]
    if report.get("predicted"):
        out.print(f"[bold]predicted[/bold]: {prediction(report)}", highlight=False)
    out.print(
        f"worst: {language_name(worst['language'])} {worst['difference']:+.2f} points",
        highlight=False,
    )
    if said := asked_behind(report):
        out.print(f"asked{said}", markup=False, highlight=False)
    for line in part_lines(report):
        out.print(line, highlight=False)
    ours, theirs = report["throughput"], report["reference_throughput"]
    latency = ours["latency_ms"]
    table(
        "throughput on these texts, engine alone",
        ["", "sentences/s", "tokens/s", "tokenizer sentences/s", "p50 ms", "p95 ms", "p99 ms"],
        [
            ["fp32", *_speed(theirs), "", "", ""],
            [report["precision"], *_speed(ours), *(f"{latency[p]:.2f}" for p in latency)],
            ["ratio, in turn", f"{report['in_turn']['faster']:.2f}×", "", "", "", "", ""],
        ],
    )


def show_suite(document: Mapping[str, Any]) -> None:
    """All tasks in one table, XTREME's means below."""
    rows = []
    done = [entry for entry in document["tasks"] if "skipped" not in entry]
    labels = data_labels(done)
    for entry in done:
        mean, worst = entry["mean"], entry["worst"]
        rows.append(
            [
                entry["task"],
                entry["data"]["kind"],
                str(len(entry["languages"])),
                f"{mean['reference']:.2f}",
                f"{mean['candidate']:.2f}",
                f"{mean['difference']:+.2f}",
                f"{language_name(worst['language'])} {worst['difference']:+.2f}",
                f"{entry['throughput']['tokens_per_s']:,.0f}",
                # A long one in several lines: figures must not be cut for it.
                textwrap.fill(entry["metric"], METRIC_WIDTH),
            ]
        )
    means = [*document["groups"].items(), ("mean", document["average"])]
    for name, mean in means:
        if mean is not None:
            figures = [f"{mean[side]:.2f}" for side in ("reference", "candidate")]
            rows.append([name, "", "", *figures, f"{mean['difference']:+.2f}", "", "", ""])
    columns = ["task", "data", "langs", "fp32", "bundle", "difference", "worst", "tokens/s"]
    _say_sample(done, alone=False)
    table(f"retention by task on {' and '.join(labels)}", [*columns, "metric"], rows)
    out = console()
    for entry in document["tasks"]:
        if "skipped" in entry:
            out.print(
                f"{entry['task']}: not scored. {entry['skipped']}", highlight=False, markup=False
            )
        elif "left_out" in entry:
            out.print(
                f"{entry['task']}: without {', '.join(entry['left_out'])}, which its data lacks",
                highlight=False,
            )
    for entry in done:
        for name, found in stress_of(entry).items():
            ends = f"{found['reference']:.2f} → {found['candidate']:.2f}"
            out.print(
                f"{entry['task']}, stress test, {name}: {ends} ({found['difference']:+.2f})",
                highlight=False,
            )
    if len(labels) > 1:
        out.print("no mean over tasks that were measured on different data", highlight=False)
    elif document["average"] is None:
        out.print("no mean of the nine: it needs all of them", highlight=False)
    for entry in done:
        if entry.get("predicted"):
            out.print(f"[bold]predicted[/bold], {entry['task']}: {prediction(entry)}")


def show_gate(gate: Mapping[str, Any] | None) -> None:
    """Whether any language lost too much, or a task was not scored."""
    if gate is None:
        return
    points = gate["max_drop"]
    verdict = (
        f"[green]gate passed[/green]: no language lost more than {points} points"
        if gate["passed"]
        else f"[red]gate failed[/red] at {points} points: {', '.join(gate['failed'])}"
    )
    console().print(verdict, highlight=False)


def _say_sample(reports: Sequence[Mapping[str, Any]], *, alone: bool) -> None:
    sampled = [report for report in reports if report["data"]["kind"] == "sample"]
    if sampled:
        stressed = alone and "near_duplicates" in sampled[0].get("parts", {})
        said = SAMPLE + (FAMILIES if stressed else "")
        console().print(said, highlight=False, soft_wrap=True)


def _speed(found: Mapping[str, Any]) -> list[str]:
    names = ("sentences_per_s", "tokens_per_s", "tokenization_sentences_per_s")
    return [f"{found[name]:,.0f}" for name in names]
