"""Files of texts: lines, tables and columns as rows, read as they are needed."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xopt.bulk.columns import Columns
from xopt.errors import DataError, InputError, did_you_mean, require
from xopt.forms import spelled
from xopt.model.texts import LONGEST, Row
from xopt.parquet import read_rows
from xopt.reading import read_lines, read_objects

__all__ = ["ENDINGS", "FileInput", "GivenInput", "Input", "open_input"]

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
# What parts columns elsewhere: a spreadsheet in German or French writes .csv with semicolons.
OTHER_MARKS = {".csv": ";\t|", ".tsv": ";,|"}
# Files that a message names.
MOST_NAMED = 20


@dataclass(frozen=True)
class GivenInput:
    """Texts that stand on the command line."""

    texts: Sequence[str]
    pair: str | None = None
    called: str = "the command line"

    def digest(self) -> str:
        """sha256 of the texts."""
        text = json.dumps([*self.texts, self.pair], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def count(self) -> int:
        """How many rows there are."""
        return len(self.texts)

    def rows(self) -> Iterator[Row]:
        """Every row."""
        for number, text in enumerate(self.texts, 1):
            yield Row(text, self.pair, f"Text {number}", number)


@dataclass(frozen=True)
class FileInput:
    """A file that can be read again and again.

    Attributes:
        path: its ending, in small letters or capitals, says what it is.
        columns: which of its columns are read.
        pair: the second text of every row, if it is not a column.
        name: what a message calls it.
    """

    path: Path
    columns: Columns = field(default_factory=Columns)
    pair: str | None = None
    name: str = ""

    @property
    def ending(self) -> str:
        """One of :data:`ENDINGS`."""
        return self.path.suffix.lower()

    def digest(self) -> str:
        """sha256 of the file's bytes."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def count(self) -> int:
        """How many rows there are; of text files its lines, which may be a few more."""
        if self.ending == ".parquet":
            return int(_parquet(self.path).metadata.num_rows)
        lines = 0
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 20):
                lines += block.count(b"\n")
        return max(1, lines)

    def rows(self) -> Iterator[Row]:
        """Every row, in order.

        Raises:
            DataError: a row that cannot be read; file and row are named.
            InputError: there is no such column.
        """
        reader = {
            ".txt": self._lines, ".csv": self._table, ".tsv": self._table, ".jsonl": self._objects,
            ".parquet": self._batches,
        }[self.ending]  # fmt: skip
        return reader()

    @property
    def called(self) -> str:
        """What a message calls it."""
        return self.name or self.path.name

    def _lines(self) -> Iterator[Row]:
        for number, line in enumerate(read_lines(self.path, self.called), 1):
            if line.strip():
                yield Row(line, self.pair, f"{self.called}, line {number}", number)

    def _table(self) -> Iterator[Row]:
        csv.field_size_limit(4 * LONGEST)
        lines = read_lines(self.path, self.called, keep_ends=True)
        # A .tsv file has no quotes; a quote in it is a letter like every other.
        plain: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        table = csv.reader(lines, **(plain if self.ending == ".tsv" else {}), strict=True)
        number = 0
        try:
            header = next((cells for cells in table if cells), [])
            self._check_marks(header)
            places = self.columns.find(header, self.called)
            for number, cells in enumerate((cells for cells in table if cells), 1):
                where = f"{self.called}, row {number}"
                if len(cells) != len(header):
                    raise DataError(
                        f"{where} has {len(cells)} columns; the header has {len(header)}."
                    )
                yield self._row([cells[place] for place in places], where, number)
        except csv.Error as error:
            raise DataError(f"{self.called}, row {number + 1}: {error}.") from error

    def _check_marks(self, header: Sequence[str]) -> None:
        """Refuse a table whose columns are parted by something else: a row would be one text."""
        if len(header) != 1 or header[0] == self.columns.text:
            return
        if set(header[0]) & set(OTHER_MARKS[self.ending]):
            raise DataError(
                f"{self.called} has one column, {header[0]!r}: its columns are not parted by "
                f"{'tabs' if self.ending == '.tsv' else 'commas'}.",
                hint="Save it as .csv with commas, or as .tsv with tabs. If it is one column, name "
                "it with --column.",
            )

    def _objects(self) -> Iterator[Row]:
        chosen: list[str] = []
        for number, found in read_objects(self.path, self.called):
            where = f"{self.called}, line {number}"
            names = list(found)
            # What the first object has decides for all: the only key of another may be another.
            chosen = chosen or [names[place] for place in self.columns.find(names, where)]
            lacking = [name for name in chosen if name not in found]
            if lacking:
                raise InputError(
                    f"{where} has no column {lacking[0]!r}, which the first object has.",
                    hint=did_you_mean(lacking[0], names) if names else "It has none.",
                )
            yield self._row([found[name] for name in chosen], where, number)

    def _batches(self) -> Iterator[Row]:
        with _parquet(self.path) as opened:
            names = opened.schema_arrow.names
            chosen = [names[place] for place in self.columns.find(names, self.called)]
            for name in chosen:
                if names.count(name) > 1:
                    raise DataError(f"{self.called} has {names.count(name)} columns {name!r}.")
            number = 0
            batches = read_rows(opened, self.path, chosen, kept=False)
            while True:
                try:
                    # Nobody has looked so far whether a text is UTF-8.
                    rows = next(batches, None)
                except (OSError, ValueError) as error:
                    where = f"{self.called}, from row {number + 1} on"
                    raise DataError(f"{where}: {error}.") from error
                if rows is None:
                    return
                for row in rows:
                    number += 1
                    values = [row[name] for name in chosen]
                    yield self._row(values, f"{self.called}, row {number}", number)

    def _row(self, values: Sequence[Any], where: str, number: int) -> Row:
        """A row of one or two texts; a list of words is a sentence in words."""
        second = values[1] if len(values) > 1 else self.pair
        text: str | tuple[str, ...]
        if isinstance(values[0], list) and all(isinstance(word, str) for word in values[0]):
            text = tuple(values[0])
        elif isinstance(values[0], str):
            text = values[0]
        else:
            raise DataError(f"{where}: {spelled(values[0])} is no text.")
        if second is not None and not isinstance(second, str):
            raise DataError(f"{where}: {spelled(second)} is no text.")
        if second is None and len(values) > 1:
            raise DataError(f"{where} has no pair.", hint="Give every row one.")
        return Row(text, second, where, number)


Input = GivenInput | FileInput


def open_input(
    path: Path, columns: Columns, pair: str | None, name: str = "", *, option: str = "input"
) -> FileInput:
    """The file, if it is one that can be read; ``option`` is the one that named it.

    Raises:
        InputError: there is no such file, or it is of another kind.
    """
    if path.is_dir():
        raise InputError(f"--{option} {path} is a folder; it takes one file.", hint=_within(path))
    if path.exists() and not path.is_file():
        raise InputError(
            f"--{option} {path} is no regular file.",
            hint=f"Write what it gives into a file first: cat {path} > texts.txt",
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.", hint=_within(path.parent, path.name))
    found = FileInput(path, columns, pair, name)
    if found.ending not in ENDINGS:
        raise InputError(
            f"{path.name} ends in {path.suffix or 'nothing'}; --{option} reads "
            f"{', '.join(ENDINGS)}.",
            hint=did_you_mean(found.ending, ENDINGS),
        )
    columns.check(found.ending, pair)
    return found


def _within(place: Path, name: str = "") -> str:
    """What lies in a folder, that of this name first."""
    if not place.is_dir():
        return f"There is no folder {place} either; this is {Path.cwd()}."
    names = sorted(file.name for file in place.iterdir() if file.suffix.lower() in ENDINGS)
    if not names:
        return f"{place.resolve()} holds none of {', '.join(ENDINGS)}."
    return did_you_mean(name, names[:MOST_NAMED])


def _parquet(path: Path) -> Any:
    parquet = require("pyarrow.parquet", extra="build", why="Reading .parquet")
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is no readable .parquet file: {error}.") from error
