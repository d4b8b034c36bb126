"""Text from outside: standard input, files of texts, data sets and settings.

A text is UTF-8, with a byte order mark or without. A line ends in LF, CR LF or CR, and nowhere
else: form feeds, U+0085, U+2028 and U+2029 belong to the line they stand in (``str.splitlines``
would cut there, and a row of a data set would become two).
"""

from __future__ import annotations

import codecs
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from unicodedata import category

from xopt.errors import DataError, InputError, XoptError

__all__ = [
    "LONGEST_LINE", "copied_again", "is_visible", "parse_json", "parse_toml", "read_lines",
    "read_objects", "read_stream", "read_text",
]  # fmt: skip

# Bytes. No encoder takes more of a text; to keep it would need memory without end.
LONGEST_LINE = 4_000_000
BLOCK = 1 << 16
# Unicode's categories of what nobody sees: controls, formats (U+200B, U+FEFF), spaces and ends of
# lines.
UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
# Only the ends are searched for: a pattern of whole lines would try a text without one from each
# of its bytes on.
END = re.compile(rb"\r\n|\n|\r(?!\Z)")
# How JSON spells half of a surrogate pair; and its escapes in turn, of which a whole pair is one
# and a half that stands alone is the group.
HALF = re.compile(r"\\u[dD][89a-fA-F]")
ESCAPES = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F])|.)")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# How a file begins that git left in the place of a large one.
POINTER = b"version https://git-lfs"


def is_visible(text: str) -> bool:
    """Whether a text has a character that can be seen: one without is not answered."""
    return any(category(character) not in UNSEEN for character in text)


def copied_again(path: Path) -> str:
    """What to do about a file of a checkpoint that is not what its name says."""
    with path.open("rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            return (
                "Git LFS left its pointer there, not the file. In that folder, type: git lfs pull"
            )
    return "It may be truncated: download or copy it again."


def parse_json(text: str | bytes) -> Any:
    """What JSON says; its texts are Unicode.

    Raises:
        ValueError: it is no JSON or nested too deep, or a text in it has half of a surrogate pair,
            which JSON can spell and which no file can be written of.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        raise _in_words(error) from error
    # Sought in the text: where a name stands twice, what was read has its last value only.
    if HALF.search(text) and any(escape[1] for escape in ESCAPES.finditer(text)):
        raise ValueError("a text in it is not valid UTF-8: half of a surrogate pair")
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: it is no TOML, nested too deep, or holds a number that no reader takes.
    """
    try:
        found = tomllib.loads(text)
        # A name with many dots makes tables that whoever tells of them cannot follow down.
        repr(found)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        raise _in_words(error) from error
    return found


def _in_words(error: ValueError) -> ValueError:
    """Without what Python advises its programmers, where a number has too many digits."""
    return ValueError(str(error).partition("; use sys.")[0])


def read_objects(path: Path, name: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a ``.jsonl`` file, each with the number of its line.

    Args:
        path: of the file; lines of blanks are passed over.
        name: what a message calls it; its path by default.

    Raises:
        DataError: a line that is no JSON object, or no text.
    """
    for number, line in enumerate(read_lines(path, name), 1):
        if not line.strip():
            continue
        place = f"{name or path}, line {number}"
        try:
            found = parse_json(line)
        except ValueError as error:
            raise DataError(f"{place} is no valid JSON: {error}.") from error
        if not isinstance(found, dict):
            raise DataError(
                f"{place} is no JSON object.", hint="Each line is one: a brace, names and values."
            )
        yield number, found


def read_lines(
    path: Path,
    name: str | None = None,
    *,
    keep_ends: bool = False,
    longest: int = LONGEST_LINE,
    error: type[XoptError] = DataError,
) -> Iterator[str]:
    """The lines of a file, its path being its name by default; see :func:`read_stream`."""
    with path.open("rb") as stream:
        yield from read_stream(
            stream, name or str(path), keep_ends=keep_ends, longest=longest, error=error
        )


def read_stream(
    stream: IO[bytes],
    name: str,
    *,
    keep_ends: bool = False,
    longest: int = LONGEST_LINE,
    error: type[XoptError] = InputError,
) -> Iterator[str]:
    """The lines of a text, one at a time, without byte order mark and line end.

    Args:
        stream: bytes; a line is given as soon as it is there.
        name: what a message calls it.
        keep_ends: keep line ends, as the standard library's reader of tables wants them.
        longest: bytes of a line.
        error: what is raised.

    Raises:
        XoptError: a line is not UTF-8, holds a NUL, or is longer than ``longest``. Lines are
            counted from 1, bytes of the whole text from 0.
    """
    for number, (place, raw) in enumerate(_split(stream, name, longest, error), 1):
        line = _decode(raw, name, number, place, error)
        yield line if keep_ends else line.rstrip("\r\n")


def read_text(path: Path, *, error: type[XoptError] = DataError) -> str:
    """A whole text without its byte order mark; line ends as they are.

    Raises:
        XoptError: it is not UTF-8 or holds a NUL; file, line and byte are named.
    """
    return "".join(read_lines(path, keep_ends=True, longest=1 << 40, error=error))


def _split(
    stream: IO[bytes], name: str, longest: int, error: type[XoptError]
) -> Iterator[tuple[int, bytes]]:
    """(place in the text, bytes) of each line, line end included, byte order mark not."""
    # A terminal or a pipe gives what it has; `read` would wait for a whole block.
    read = getattr(stream, "read1", stream.read)
    number, place, seen, rest, last = 0, 0, 0, b"", False
    while not last:
        block = read(BLOCK)
        last = not block
        rest += block
        if place == 0 and number == 0:
            if len(rest) < len(codecs.BOM_UTF8) and not last:
                continue
            if rest.startswith(UTF_16):
                raise error(f"{name} is UTF-16, not UTF-8.", hint=_advice(name, "utf-16"))
            if rest.startswith(codecs.BOM_UTF8):
                rest, place = rest[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        taken = 0
        for found in END.finditer(rest, seen):
            number += 1
            yield place, _short(rest[taken : found.end()], name, number, longest, error)
            place += found.end() - taken
            taken = found.end()
        rest = rest[taken:]
        # Whether a CR at the end of a block is half of a CR LF shows in the next one.
        seen = max(0, len(rest) - 1)
        if rest:
            _short(rest, name, number + 1, longest, error)
    if rest:
        yield place, rest


def _short(raw: bytes, name: str, number: int, longest: int, error: type[XoptError]) -> bytes:
    if len(raw) > longest + 2:
        raise error(f"{name}, line {number} is longer than {longest:,} bytes.", hint="Split it.")
    return raw


def _decode(raw: bytes, name: str, number: int, place: int, error: type[XoptError]) -> str:
    nul = raw.find(0)
    if nul >= 0:
        raise error(
            f"{name} holds a NUL, which no text has: line {number}, byte {place + nul}.",
            hint=f"If it is UTF-16: {_advice(name, 'utf-16')}",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as found:
        raise error(
            f"{name} is not valid UTF-8: line {number}, byte {place + found.start}.",
            hint=_advice(name, "latin1"),
        ) from found


def _advice(name: str, encoding: str) -> str:
    """The command that makes the file UTF-8; iconv alone would print it, or spoil it in place."""
    file = shlex.quote(name) if Path(name).is_file() else "FILE"
    return (
        f"Convert it to UTF-8 first: iconv -f {encoding} -t utf-8 {file} > converted && "
        f"mv converted {file}"
    )
