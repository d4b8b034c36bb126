"""A bar for rows: how many, how fast, how long still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from xopt.cli.output import error_console

__all__ = ["rows_bar"]


@contextmanager
def rows_bar(quiet: bool) -> Iterator[Callable[[float, int], None]]:
    """On a terminal, a bar that is told (rows done, rows in all); elsewhere nothing."""
    console = error_console()
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(
        TextColumn("{task.completed:,.0f} rows"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("rows", total=None, rate="")

        def tell(done: float, total: int) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f} rows/s" if speed else ""
            progress.update(task, completed=done, total=max(done, total), rate=rate)

        yield tell
