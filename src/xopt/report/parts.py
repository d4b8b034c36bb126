"""What a report is made of, before it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Cell", "Group", "Part", "Row", "Section", "Table", "cell", "number", "plain_table"]


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, and by what it is sorted, shaded and explained."""

    text: str
    value: float | None = None
    shade: str = ""
    hover: str = ""


@dataclass(frozen=True)
class Row:
    """One row; a ``strong`` one is a mean, which stays last."""

    cells: Sequence[Cell]
    strong: bool = False


@dataclass(frozen=True)
class Group:
    """Rows below one heading."""

    rows: Sequence[Row]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names the row, the others are numbers or words."""

    caption: str
    columns: Sequence[str]
    groups: Sequence[Group]
    sortable: bool = False


@dataclass(frozen=True)
class Part:
    """One of: a plot with its legend, a table, facts, a heading, a command."""

    svg: str = ""
    caption: str = ""
    legend: Sequence[str] = ()
    table: Table | None = None
    facts: Sequence[tuple[str, str]] = ()
    heading: str = ""
    command: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    lines: Sequence[str] = ()
    parts: Sequence[Part] = field(default_factory=tuple)


def cell(text: str) -> Cell:
    """A cell of words."""
    return Cell(text)


def number(value: float, form: str = ".2f", *, shade: str = "", hover: str = "") -> Cell:
    """A cell of a number, which sorts by all of its digits."""
    return Cell(format(value, form).replace("-", "−"), value, shade, hover)


def plain_table(
    caption: str, columns: Sequence[str], rows: Sequence[Row], *, sortable: bool = False
) -> Part:
    """A table of one group."""
    return Part(table=Table(caption, columns, [Group(rows)], sortable))
