"""One sink: tables and progress for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["Bars", "bars", "console", "error_console", "print_json", "show_options", "table"]

# Characters that a column of text is not made narrower than.
NARROWEST = 16


def console() -> Console:
    """Standard output; a pipe gets the whole width, so that nothing is cut.

    Texts are shown as they are: ``:dog:`` is no picture of one.
    """
    return Console(width=None if sys.stdout.isatty() else 120, emoji=False)


def error_console() -> Console:
    """Standard error."""
    return Console(stderr=True, soft_wrap=True, emoji=False)


def print_json(document: Mapping[str, Any]) -> None:
    """The one document of ``--json``."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first ``left`` columns are left-aligned, the rest are numbers.

    No number is cut. Where the terminal is too narrow the frame goes, then the columns of numbers
    come in several tables, each with the left ones.
    """
    out = console()
    cells = [[name, *(row[i] for row in rows)] for i, name in enumerate(columns)]
    widths = [max(cell_len(line) for c in column for line in c.split("\n")) for column in cells]
    # Text breaks between words; what is shown in a column of numbers does not.
    widths[:left] = [min(width, NARROWEST) for width in widths[:left]]
    framed = sum(widths) + 3 * len(widths) + 1 <= out.width
    room = out.width - sum(width + 2 for width in widths[:left])
    for part in [range(left, len(columns))] if framed else _parts(widths, left, room):
        view = _frame(framed, title)
        shown = [*range(left), *part]
        for number in shown:
            if number < left:
                # Text without blanks breaks anywhere.
                view.add_column(escape(columns[number]), overflow="fold")
            else:
                view.add_column(escape(columns[number]), justify="right", no_wrap=True)
        for row in rows:
            style = "bold" if row[0] == "mean" else ""
            view.add_row(*(escape(row[number]) for number in shown), style=style)
        out.print(view)
        if not framed:
            out.print()
        title = ""


def _parts(widths: Sequence[int], left: int, room: int) -> list[list[int]]:
    """The columns of numbers in as few parts as fit into ``room``."""
    parts: list[list[int]] = [[]]
    for number in range(left, len(widths)):
        if parts[-1] and sum(widths[n] + 2 for n in (*parts[-1], number)) > room:
            parts.append([])
        parts[-1].append(number)
    return parts


def _frame(framed: bool, title: str) -> Table:
    # A title may be a name in brackets, which is no markup.
    shown = escape(title) or None
    view = Table(title=shown, title_justify="left", title_style="bold", header_style="bold")
    if not framed:
        view.box, view.show_edge, view.pad_edge = box.SIMPLE_HEAD, False, False
        view.padding = (0, 1, 0, 0)
    return view


def show_options(command: str, options: Mapping[str, Any], quiet: bool) -> None:
    """The resolved options, before the work begins."""
    if not quiet:
        shown = "  ".join(
            f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in options.items()
            if value not in (None, "", ())
        )
        line = escape(f"xopt {command}: {shown}")
        error_console().print(f"[dim]{line}[/dim]", highlight=False)


class Bars:
    """Progress bars on standard error, one per stage or language."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._current: TaskID | None = None
        self._named: dict[str, TaskID] = {}

    def stage(self, name: str) -> None:
        """Finish the bar before, start this one."""
        self.finish()
        self._current = self._progress.add_task(name, total=1.0)

    def share(self, done: float) -> None:
        """Move the current bar."""
        if self._current is not None:
            self._progress.update(self._current, completed=done)

    def named(self, name: str, done: float) -> None:
        """Move the bar of this name; it appears when first moved."""
        if name not in self._named:
            self._named[name] = self._progress.add_task(name, total=1.0)
        self._progress.update(self._named[name], completed=done)

    def finish(self) -> None:
        """The current bar is done."""
        if self._current is not None:
            self._progress.update(self._current, completed=1.0)
            self._current = None


class _Rate(ProgressColumn):
    """How much of a bar is done in a second, or in a minute where that is less than 1 %."""

    def render(self, task: Task) -> Text:
        """``2.5 %/s``."""
        percent = 100 * (task.finished_speed or task.speed or 0.0)
        if not percent:
            return Text("")
        return Text(f"{percent:.1f} %/s" if percent >= 1 else f"{60 * percent:.1f} %/min")


class _Left(ProgressColumn):
    """How long a bar still takes, once it has moved."""

    def render(self, task: Task) -> Text:
        """``0:00:12 left``."""
        left = task.time_remaining
        known = left is not None and not task.finished
        return Text(f"{timedelta(seconds=round(left or 0))} left" if known else "")


@contextmanager
def bars(quiet: bool) -> Iterator[Bars]:
    """Bars on a terminal while the block runs, and nothing elsewhere.

    On an error the last one stays where it was.
    """
    shown_on = error_console()
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.percentage:>3.0f}%"),
        _Rate(),
        TimeElapsedColumn(),
        _Left(),
        console=shown_on,
        disable=quiet or not shown_on.is_terminal,
    )
    with progress:
        shown = Bars(progress)
        yield shown
        shown.finish()
