"""One sink: tables and progress for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

__all__ = ["Bars", "bars", "console", "error_console", "print_json", "show_options", "table"]


def console() -> Console:
    """Standard output; a pipe gets the whole width, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else 120)


def error_console() -> Console:
    """Standard error."""
    return Console(stderr=True, soft_wrap=True)


def print_json(document: Mapping[str, Any]) -> None:
    """The one document of ``--json``."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first ``left`` columns are left-aligned, the rest are numbers."""
    view = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, name in enumerate(columns):
        view.add_column(name, justify="left" if number < left else "right", no_wrap=number > 0)
    for row in rows:
        view.add_row(*(escape(cell) for cell in row), style="bold" if row[0] == "mean" else "")
    console().print(view)


def show_options(command: str, options: Mapping[str, Any], quiet: bool) -> None:
    """The resolved options, before the work begins."""
    if not quiet:
        shown = "  ".join(f"{k}={v}" for k, v in options.items() if v not in (None, "", ()))
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


@contextmanager
def bars(quiet: bool) -> Iterator[Bars]:
    """Bars while the block runs; on an error the last one stays where it was."""
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=error_console(),
        disable=quiet,
    )
    with progress:
        shown = Bars(progress)
        yield shown
        shown.finish()
