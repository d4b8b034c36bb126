"""The table over several tasks: its means, its samples, and names that are long."""

from __future__ import annotations

from typing import Any

import pytest
from tests.evaluate.cells import cells

from xopt.cli.eval_tables import show_suite
from xopt.evaluate.suite import combine_reports


def small_report(task: str, reference: float, candidate: float, **more: Any) -> dict[str, Any]:
    """What the table of several tasks reads of a report."""
    difference = candidate - reference
    return {
        "task": task,
        "metric": "points",
        "data": {"label": "google/xtreme@0123", "kind": "hub"},
        "languages": {"sw": {"difference": difference}},
        "mean": {"reference": reference, "candidate": candidate, "difference": difference},
        "worst": {"language": "sw", "difference": difference},
        "throughput": {"tokens_per_s": 12345.0},
    } | more


NINE = (
    ("xnli", 80.0, 79.0), ("pawsx", 90.0, 88.0), ("udpos", 70.0, 70.5), ("panx", 60.0, 59.0),
    ("xquad", 75.0, 72.0), ("mlqa", 66.0, 65.0), ("tydiqa", 60.0, 58.0), ("bucc2018", 70.0, 68.0),
    ("tatoeba", 50.0, 53.5),
)  # fmt: skip


def shown(entries: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_suite(combine_reports(entries))
    return capsys.readouterr().out.splitlines()


def test_nine_tasks_stand_in_one_table_with_xtremes_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown([small_report(*figures) for figures in NINE], capsys)
    assert lines[0].strip() == "retention by task on google/xtreme@0123"
    for name, reference, candidate in NINE:
        row = cells(lines, name)
        assert row[1:6] == [
            "hub", "1", f"{reference:.2f}", f"{candidate:.2f}", f"{candidate - reference:+.2f}",
        ]  # fmt: skip
        assert row[7:] == ["12,345", "points"]
    # By hand: (80 + 90) / 2, (79 + 88) / 2; ...; 621 / 9, 613 / 9.
    for name, figures in (
        ("classification", ["85.00", "83.50", "-1.50"]),
        ("tagging", ["65.00", "64.75", "-0.25"]),
        ("qa", ["67.00", "65.00", "-2.00"]),
        ("retrieval", ["60.00", "60.75", "+0.75"]),
        ("mean", ["69.00", "68.11", "-0.89"]),
    ):
        assert cells(lines, name) == [name, "", "", *figures, "", "", ""]
    assert not any("no mean" in line for line in lines)


def test_a_sample_number_has_no_part_in_a_mean_with_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample = {"data": {"label": "sample (ours)", "kind": "sample"}}
    entries = [small_report(*NINE[0])] + [small_report(*figures, **sample) for figures in NINE[1:]]
    document = combine_reports(entries)
    assert document["average"] is None
    assert document["groups"]["classification"] is None
    # All of a group from one source keep their mean.
    assert document["groups"]["qa"]["reference"] == 67.0
    lines = shown(entries, capsys)
    assert lines[0].startswith("sample: a few examples a language, written for xopt")
    assert lines[1].strip() == "retention by task on google/xtreme@0123 and sample (ours)"
    assert cells(lines, "xnli")[1] == "hub"
    assert cells(lines, "pawsx")[1] == "sample"
    assert not any(line.split("│")[1].strip() == "mean" for line in lines if "│" in line)
    assert "no mean over tasks that were measured on different data" in lines


def test_no_figure_is_cut_for_a_long_name(capsys: pytest.CaptureFixture[str]) -> None:
    more = {
        "metric": "retrieval accuracy on gold pairs (not BUCC F1)",
        "worst": {"language": "id", "difference": -10.2},
        "data": {"label": "sample (ours)", "kind": "sample"},
    }
    lines = shown([small_report("bucc2018-gold-pairs", 80.12, 69.92, **more)], capsys)
    row = ["sample", "1", "80.12", "69.92", "-10.20", "Indonesian -10.20", "12,345", "retrieval"]
    assert cells(lines, "bucc2018-gold-pairs")[1:] == row
    assert "…" not in "".join(lines)


def test_combined_reports_have_means_only_where_nothing_is_missing() -> None:
    entries = [small_report(*figures) for figures in NINE]
    partly = combine_reports([*entries[:-1], {"task": "tatoeba", "skipped": "no bundle"}])
    assert partly["average"] is None
    assert partly["groups"]["retrieval"] is None
    assert partly["groups"]["qa"]["difference"] == pytest.approx(-2.0)
