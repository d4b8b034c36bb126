"""Tables keep their numbers on a narrow terminal, and bars keep away from what is none."""

from __future__ import annotations

import io
import re
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from xopt.cli import inspect, output

TEXT = "Wo ist die Bibliothek? 図書館はどこですか。" * 2
LANGUAGE = ["Vietnamese (vie)", "1,024", "99.41", "99.32", "-10.69", "[-10.00, +10.63]", "100.0%"]
TABLES: dict[str, tuple[list[str], list[list[str]], int]] = {
    "retention": (
        ["language", "n", "fp32", "int8", "difference", "95 % interval", "agreement"],
        [LANGUAGE, ["mean", "1,024", "78.12", "77.15", "-0.98", "[-2.16, +0.21]", ""]],
        1,
    ),
    "suite": (
        ["task", "data", "langs", "fp32", "bundle", "difference", "worst", "tokens/s", "metric"],
        [["bucc2018", "sample", "40", "87.00", "86.00", "-1.00", "Vietnamese -12.34", "12,345",
          "mean of F1 and\nexact match"]],
        1,
    ),
    "similarity": (
        ["", "text", "tokens", *(f"cos {n}" for n in range(1, 13))],
        [[str(n), TEXT, "14", *(f"0.{n}{m:02}" for m in range(12))] for n in range(1, 10)],
        2,
    ),
}  # fmt: skip


def printed(width: int, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    columns, rows, left = TABLES[name]
    stream = io.StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(file=stream, width=width))
    output.table("A title that says what is in it", columns, rows, left)
    return stream.getvalue()


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_number_is_cut(width: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = printed(width, name, monkeypatch)
    assert max(map(cell_len, found.splitlines())) <= width
    assert "…" not in found
    columns, rows, left = TABLES[name]
    for cell in [line for row in (columns, *rows) for c in row[left:] for line in c.split("\n")]:
        assert cell in found


def test_the_framed_table_is_kept_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "┃" in printed(120, "retention", monkeypatch)
    narrow = printed(80, "retention", monkeypatch)
    assert "┃" not in narrow
    # In one piece: every language stands once.
    assert narrow.count("mean") == 1


def test_a_cards_table_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    for module in (output, inspect):
        monkeypatch.setattr(module, "console", lambda: Console(file=stream, width=60))
    columns, rows, _ = TABLES["retention"]
    table = ["| " + " | ".join(row) + " |" for row in (columns, ["--"] * len(columns), *rows)]
    inspect._show_card("\n".join(["# A card", "", "## Task", "", *table, "", "- Worst: none."]))
    found = stream.getvalue()
    assert "…" not in found
    assert [cell for row in (*rows, columns) for cell in row if cell not in found] == []
    assert found.index("A card") < found.index("agreement") < found.index("Worst")


def test_brackets_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(file=stream, width=60))
    output.table("[build]", ["[option]", "[b]"], [["[red]", "[1, 2]"]])
    found = stream.getvalue()
    assert [text for text in ("[build]", "[option]", "[b]", "[red]") if text not in found] == []


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_for_terminals(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    clock = iter(range(10_000))

    def console() -> Console:
        return Console(
            file=stream, width=80, force_terminal=terminal, get_time=lambda: float(next(clock))
        )

    monkeypatch.setattr(output, "error_console", console)
    with output.bars(quiet=False) as shown:
        shown.stage("calibrating")
        for done in (0.2, 0.4, 0.6):
            shown.share(done)
            # What a thread does ten times a second.
            cast(Any, shown)._progress.refresh()
    assert ("left" in stream.getvalue()) is terminal
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert bool(re.search(r"60% +\d+\.\d %/s", plain)) is terminal
    assert max(map(cell_len, re.split(r"[\r\n]", plain))) <= 80
    assert bool(stream.getvalue()) is terminal
