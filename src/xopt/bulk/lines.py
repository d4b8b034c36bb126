"""Lines of a text from outside."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from xopt.errors import InputError
from xopt.model.texts import LONGEST

__all__ = ["read_lines", "read_stream"]


def read_lines(path: Path, name: str, *, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a file; see :func:`read_stream`."""
    with path.open("rb") as stream:
        yield from read_stream(stream, name, keep_ends=keep_ends)


def read_stream(stream: IO[bytes], name: str, *, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a text, one at a time, without byte order mark and line end.

    Args:
        stream: UTF-8.
        name: what a message calls it.
        keep_ends: keep line ends, as the standard library's reader of tables wants them.

    Raises:
        InputError: a line is not UTF-8, or longer than any encoder takes.
    """
    place, number = 0, 0
    while raw := stream.readline(4 * LONGEST + 2):
        number += 1
        if len(raw) > 4 * LONGEST:
            raise InputError(
                f"{name}, line {number} is longer than {4 * LONGEST:,} bytes.", hint="Split it."
            )
        start = place
        place += len(raw)
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name} is not valid UTF-8: line {number}, byte {start + error.start}.",
                hint="Convert it to UTF-8 first: iconv -f latin1 -t utf-8",
            ) from error
        if not keep_ends:
            line = line.removesuffix("\n").removesuffix("\r")
        yield line
