"""Lines of a table as people read them."""

from __future__ import annotations


def cells(lines: list[str], name: str) -> list[str]:
    """The row of the table that begins with ``name``."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    [found] = [row for row in rows if row[0] == name]
    return found
