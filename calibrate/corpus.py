"""Calibration texts by language: the project's own, a file, a folder, or a hub data set."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from xopt.artifacts import fingerprint
from xopt.errors import DataError, InputError, require
from xopt.hub import MIRROR, hub_at_hand
from xopt.languages import code_of
from xopt.parquet import read_rows
from xopt.reading import is_visible, read_lines, read_objects

__all__ = ["DEFAULT", "UNKNOWN", "Corpus", "corpus_path", "count_words", "load_corpus"]

DEFAULT = Path(__file__).parent / "data"

# Characters a word takes where a language writes none between words; only used to class lengths.
CHARACTERS_A_WORD = {"zh": 1.6, "ja": 2.2, "th": 4.0, "my": 5.5}

TEXT_COLUMNS = ("text", "sentence", "sentence1", "content")
LANGUAGE_COLUMNS = ("language", "lang")
UNKNOWN = "und"
ENDINGS = (".txt", ".jsonl", ".parquet")
# Of files that hold texts in another form, what makes them one of those that are read.
MAKING = {
    ".tsv": "Put its texts into a .txt, one a line; those of its first column: "
    "cut -f 1 {file} > {stem}.txt",
    ".csv": "Put its texts into a .txt, one a line.",
    ".gz": "Unpack it: gunzip {file}",
    ".bz2": "Unpack it: bunzip2 {file}",
    ".xz": "Unpack it: unxz {file}",
    ".zst": "Unpack it: unzstd --rm {file}",
    ".zip": "Unpack it: unzip {file}",
}  # fmt: skip
KINDS_OF_TEXTS = (
    "Give a .txt, .jsonl or .parquet file, a folder of them named by language (sw.txt), or "
    "hub:ID[:CONFIG]; xopt build --calibration also takes the folder of xopt calibrate -o. "
    "xopt's own texts need nothing: xopt calibrate"
)


@dataclass(frozen=True)
class Corpus:
    """Texts with their languages.

    Attributes:
        name: what reports call it.
        rows: (language, text); ``und`` where no language is stated.
    """

    name: str
    rows: tuple[tuple[str, str], ...]

    @property
    def fingerprint(self) -> str:
        """Of every row, in order."""
        return fingerprint(self.rows)

    @property
    def languages(self) -> list[str]:
        """In order of first appearance."""
        return list(dict.fromkeys(language for language, _ in self.rows))


def count_words(text: str, language: str) -> float:
    """Words of ``text``: white-space tokens, or characters over their usual number in a word."""
    if language in CHARACTERS_A_WORD:
        letters = sum(not c.isspace() for c in text)
        return letters / CHARACTERS_A_WORD[language]
    return float(len(text.split()))


def load_corpus(name: str | None = None) -> Corpus:
    """Read a calibration corpus.

    Args:
        name: None for the project's own sentences; a ``.txt``, ``.jsonl`` or ``.parquet`` file; a
            folder of such files, one language each, named by its code; or ``hub:ID[:CONFIG]``.

    Raises:
        InputError: there is no such corpus, or it is empty.
        DataError: a file or a row that cannot be read; it is named.
    """
    path = corpus_path(name)
    if path is None:
        label = str(name)
        rows = tuple(_read_hub(label))
    else:
        rows = tuple(_read_path(path))
        label = "xopt's own 40 languages" if name is None else path.name
    if not rows:
        raise InputError(f"The calibration corpus {label} holds no text.", hint=KINDS_OF_TEXTS)
    return Corpus(label, rows)


def corpus_path(name: str | None) -> Path | None:
    """Where a corpus lies; None for one of the hub's.

    Raises:
        InputError: there is no such file or folder.
    """
    if name is not None and name.startswith("hub:"):
        return None
    path = DEFAULT if name is None else Path(name).expanduser()
    if not path.exists():
        raise InputError(
            f"There is no calibration corpus {path}.",
            hint=KINDS_OF_TEXTS,
        )
    return path


def _read_path(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_dir():
        yield from _read_file(path)
        return
    for file in sorted(filter(_is_meant, path.iterdir())):
        if file.is_dir():
            raise InputError(
                f"{file} is a folder; a language's texts lie in a file.",
                hint=f"Write them into one, and take the folder out: {file}.txt",
            )
        rows = list(_read_file(file, folder=True))
        if not rows:
            raise DataError(
                f"{file} holds no text.", hint="Put texts into it, or take it out of the folder."
            )
        yield from rows


def _is_meant(path: Path) -> bool:
    """Whether what lies in a folder is of its texts: by its ending, or by a language's name.

    A README may lie beside them, and what other programs hide.
    """
    if path.name.startswith("."):
        return False
    if code_of(path.name.split(".")[0]):
        return True
    return not path.is_dir() and path.suffix.lower() in (*ENDINGS, *MAKING)


def _read_file(path: Path, *, folder: bool = False) -> Iterator[tuple[str, str]]:
    language = code_of(path.stem) or code_of(path.name.split(".")[0]) or UNKNOWN
    match path.suffix:
        case ".txt":
            for number, line in enumerate(read_lines(path), 1):
                if is_visible(line):
                    yield language, _clean(line, path, number)
        case ".jsonl":
            for number, row in read_objects(path):
                yield _row(row, language, f"{path}, line {number}")
        case ".parquet":
            parquet = require("pyarrow.parquet", extra="build", why="Reading Parquet")
            try:
                with parquet.ParquetFile(path) as opened:
                    rows = list(chain.from_iterable(read_rows(opened, path, kept=True)))
            except Exception as error:
                raise DataError(f"{path} is no readable Parquet file: {error}.") from error
            for number, row in enumerate(rows, 1):
                yield _row(row, language, f"{path}, row {number}")
        case other:
            raise InputError(
                f"{path} has the ending {other!r}; possible: {', '.join(ENDINGS)}.",
                hint=_advice(path, folder=folder),
            )


def _advice(path: Path, *, folder: bool) -> str:
    """What makes a file one that is read."""
    lower = path.suffix.lower()
    made = MAKING.get(lower, "Write its texts into a .txt, one a line.")
    if lower in ENDINGS:
        made = f"Name it {path.stem}{lower}."
    stem = shlex.quote(str(path.with_suffix("")))
    said = made.format(file=shlex.quote(str(path)), stem=stem)
    return f"{said}\nEither way this file has to leave the folder." if folder else said


def _read_hub(name: str) -> Iterator[tuple[str, str]]:
    why = "Reading a hub data set"
    datasets = require("datasets", extra="calibrate", why=why)
    _, identity, *config = name.split(":")
    if not identity:
        raise InputError(
            f"{name} names no data set.", hint="Give its id: hub:ID, or hub:ID:CONFIG."
        )
    with hub_at_hand(why=why, extra="calibrate") as hub:
        try:
            rows = datasets.load_dataset(identity, *config, split="train", streaming=True)
            for number, row in enumerate(rows.take(20_000), 1):
                yield _row(row, UNKNOWN, f"{name}, row {number}")
        except DataError:
            raise
        except Exception as error:
            said = hub.fault or f"{type(error).__name__}: {error}"
            raise InputError(
                f"The data set {identity} could not be read: {said}.",
                hint=f"Check the id, give a file or a folder, {MIRROR}, or leave the option out: "
                "then xopt takes its own texts.",
            ) from error


def _row(row: Mapping[str, Any], language: str, place: str) -> tuple[str, str]:
    column = next((c for c in TEXT_COLUMNS if isinstance(row.get(c), str)), None)
    if column is None:
        other = next((c for c in TEXT_COLUMNS if c in row), None)
        if other is not None:
            raise DataError(f"{place}: {other} is {row[other]!r:.40}, which is no text.")
        raise DataError(
            f"{place}: no text column.", hint=f"Name it one of {', '.join(TEXT_COLUMNS)}."
        )
    named = (_stated(row.get(c), c, place) for c in LANGUAGE_COLUMNS)
    stated = next(filter(None, named), language)
    return code_of(stated) or stated, _clean(row[column], place)


def _stated(value: object, column: str, place: str) -> str:
    """The language that a row states; nothing where it states none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {column} is {value!r:.40}, which is no text.",
            hint="State a language by its code, such as sw, or leave the column out.",
        )
    return value.strip()


def _clean(text: str, place: Path | str, number: int | None = None) -> str:
    where = f"{place}, line {number}" if number else str(place)
    clean = unicodedata.normalize("NFC", text).strip()
    if not clean:
        raise DataError(f"{where}: the text is empty.")
    if not is_visible(clean):
        raise DataError(f"{where}: the text has spaces and control or format characters alone.")
    if not clean.isprintable() and any("\ud800" <= c <= "\udfff" for c in clean):
        raise DataError(f"{where}: the text is not valid Unicode.")
    return clean
