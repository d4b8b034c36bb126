"""Files of answers: each chunk of rows as bytes of its own, joined when all are there."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np

from xopt.errors import InputError, did_you_mean, require
from xopt.model.documents import result_facts, result_json
from xopt.model.head import Head
from xopt.model.results import Embedding, Prediction, Result
from xopt.model.texts import Row

__all__ = ["FORMATS", "Format", "find_format"]

FORMATS = (".jsonl", ".parquet", ".npy")
BLOCK = 1 << 20


class Format(Protocol):
    """How answers stand in a file."""

    def part(self, rows: Sequence[Row], results: Sequence[Result]) -> bytes:
        """The bytes of a chunk of rows."""
        ...

    def join(self, parts: Sequence[Path], out: Path) -> None:
        """Write the whole file from the chunks, in order."""
        ...


class Lines:
    """``.jsonl``: an object a row."""

    def part(self, rows: Sequence[Row], results: Sequence[Result]) -> bytes:
        """One line for each row, which begins with its number in the input."""
        lines = []
        for row, result in zip(rows, results, strict=True):
            said = result_json(row, result, logits=False)
            lines.append(f'{{"row": {row.number}, {said[1:]}\n')
        return "".join(lines).encode()

    def join(self, parts: Sequence[Path], out: Path) -> None:
        """Chunk behind chunk."""
        with out.open("wb") as stream:
            for path in parts:
                _copy(path, stream)


@dataclass(frozen=True)
class Table:
    """``.parquet``: a row group a chunk, with the columns of :class:`Lines`."""

    head: Head

    def part(self, rows: Sequence[Row], results: Sequence[Result]) -> bytes:
        """An Arrow stream of one table."""
        ipc = require("pyarrow.ipc", extra="build", why="Writing .parquet")
        table = _arrow().table(_columns(self.head, rows, results))
        sink = io.BytesIO()
        with ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return sink.getvalue()

    def join(self, parts: Sequence[Path], out: Path) -> None:
        """One row group after the other."""
        parquet = require("pyarrow.parquet", extra="build", why="Writing .parquet")
        ipc = require("pyarrow.ipc", extra="build", why="Writing .parquet")
        writer: Any = None
        try:
            for path in parts:
                with ipc.open_stream(path.read_bytes()) as stream:
                    table = stream.read_all()
                if writer is None:
                    writer = parquet.ParquetWriter(out, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


@dataclass(frozen=True)
class Array:
    """``.npy``: ``[rows, width]`` float32, of embeddings or of a classifier's values."""

    width: int

    def part(self, rows: Sequence[Row], results: Sequence[Result]) -> bytes:
        """The values alone."""
        values = [cast(Embedding | Prediction, result).values for result in results]
        return np.stack(values).astype("<f4").tobytes()

    def join(self, parts: Sequence[Path], out: Path) -> None:
        """A header, and chunk behind chunk."""
        size = sum(path.stat().st_size for path in parts)
        shape = (size // (4 * self.width), self.width)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with out.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for path in parts:
                _copy(path, stream)


def find_format(path: Path, head: Head, width: int) -> Format:
    """The format that the ending of ``path`` names.

    Args:
        path: of the file of answers.
        head: of the bundle.
        width: values of an embedding, or labels of a classifier.

    Raises:
        InputError: no such format, or one that cannot hold these answers.
        MissingExtraError: its library is not installed.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"{path.name} ends in {ending or 'nothing'}; --output writes {', '.join(FORMATS)}.",
            hint=did_you_mean(ending, FORMATS),
        )
    if ending == ".npy":
        if head.kind not in ("embed", "classify"):
            raise InputError(
                f"A .npy file holds a row of numbers for each text; this bundle's head is "
                f"{head.kind!r}.",
                hint="Write .jsonl or .parquet.",
            )
        return Array(width)
    if ending == ".jsonl":
        return Lines()
    _arrow()
    return Table(head)


def _arrow() -> Any:
    return require("pyarrow", extra="build", why="Writing .parquet")


def _copy(path: Path, stream: IO[bytes]) -> None:
    with path.open("rb") as part:
        shutil.copyfileobj(part, stream, BLOCK)


def _columns(head: Head, rows: Sequence[Row], results: Sequence[Result]) -> dict[str, Any]:
    """Arrow arrays by name; every chunk has the same types."""
    arrow = _arrow()
    word = {"word": arrow.string(), "label": arrow.string(), head.says: arrow.float32()}
    word |= {"start": arrow.int32(), "stop": arrow.int32()}
    types = {
        "row": arrow.int64(), "text": arrow.string(), "pair": arrow.string(),
        "tokens": arrow.int32(), "embeddings": arrow.list_(arrow.float32()),
        "label": arrow.string(), "probability": arrow.float32(), "score": arrow.float32(),
        "probabilities": arrow.map_(arrow.string(), arrow.float32()),
        "scores": arrow.map_(arrow.string(), arrow.float32()),
        "answer": arrow.string(), "start": arrow.int32(), "stop": arrow.int32(),
        "tags": arrow.list_(arrow.struct(list(word.items()))),
    }  # fmt: skip
    documents = [result_facts(row, result) for row, result in zip(rows, results, strict=True)]
    for row, document in zip(rows, documents, strict=True):
        document |= {"row": row.number, "text": row.first, "pair": row.pair}
    names = [name for name in types if name == "pair" or name in documents[0]]

    def cell(value: Any) -> Any:
        return list(value.items()) if isinstance(value, dict) else value

    return {
        name: arrow.array([cell(document[name]) for document in documents], types[name])
        for name in names
    }
