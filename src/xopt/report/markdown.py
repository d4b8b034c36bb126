"""The sections of a report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import unescape

from xopt.report.parts import Part, Row, Section

__all__ = ["escape", "markdown"]

# What Markdown would read as its own: emphasis, code, links, HTML, entities, a bar of a table.
MEANT = re.compile(r"[\\`*|~]|(?<!\w)_|_(?!\w)|(?<=\])[(\[]|<(?=[A-Za-z/!?])|&(?=#|\w+;)")
# At the start of a line: a heading, a quotation, a list.
STARTS = re.compile(r"^(?:(#{1,6}|[>+-])(?=\s|$)|(\d+)([.)])(?=\s|$))")


def escape(text: str) -> str:
    """The text in one line, so that it is read as it is written."""
    line = MEANT.sub(r"\\\g<0>", " ".join(text.split()))
    return STARTS.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", line)


def markdown(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """A page of Markdown with the tables and facts of ``sections``."""
    lines = [f"# {escape(title)}", "", escape(lead), ""]
    for section in sections:
        lines += [f"## {escape(section.title)}", ""]
        for line in section.lines:
            lines += [escape(line), ""]
        for part in section.parts:
            lines += [*_part(part), ""]
    return "\n".join([*lines, escape(footer), ""])


def _part(part: Part) -> list[str]:
    if part.command:
        longest = max(map(len, re.findall("`+", part.command)), default=0)
        fence = "`" * max(3, longest + 1)
        return [fence, part.command, fence]
    if part.facts:
        return [f"- {escape(name)}: {escape(value)}" for name, value in part.facts]
    if part.svg:
        said = re.search(r"<title[^>]*>(.*?)</title><desc", part.svg, flags=re.DOTALL)
        words = [f"{unescape(said[1])}." if said and not part.legend else "", part.caption]
        listed = [f"{n}. {escape(line)}" for n, line in enumerate(part.legend, 1)]
        head = [f"### {escape(part.heading)}", ""] if part.heading else []
        told = " ".join(word for word in words if word)
        return [*head, *([escape(told)] if told else []), *listed]
    if part.heading:
        return [f"### {escape(part.heading)}"]
    assert part.table is not None
    table = part.table
    lines = [escape(table.caption), "", _line(map(escape, table.columns))]
    lines.append(_line(["---"] * len(table.columns)))
    for group in table.groups:
        if group.title:
            title = f"**{escape(group.title)}**"
            lines.append(_line([title, *[""] * (len(table.columns) - 1)]))
        lines += [_cells(row) for row in group.rows]
    return lines


def _cells(row: Row) -> str:
    texts = [escape(cell.text) for cell in row.cells]
    return _line([f"**{text}**" if row.strong and text else text for text in texts])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
