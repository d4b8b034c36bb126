"""Rows of a Parquet file that anyone may have written.

A text that a column repeats is stored once, and pages are packed: a file of 300 bytes can hold
gigabytes. So rows are read a few at a time, and counted as they unpack.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["read_rows"]

# Rows that are unpacked at once.
ROWS = 64
# Bytes that rows may take, whatever the file's size, and how many times its size. Texts are packed
# to a tenth, or a hundredth where passages repeat.
MOST_BYTES = 1 << 28
MOST_TIMES = 200

Rows = list[dict[str, Any]]


def read_rows(
    opened: Any, path: Path, columns: list[str] | None = None, *, kept: bool
) -> Iterator[Rows]:
    """The rows of a file, some at a time.

    Args:
        opened: a ``pyarrow.parquet.ParquetFile``.
        path: of the file.
        columns: those that are wanted, each of another name; all by default.
        kept: whether whoever asks keeps all rows. Else rows that were given are not counted.

    Raises:
        ValueError: the file is damaged, or its rows take more than they may.
        OSError: the file is damaged.
    """
    most = max(MOST_BYTES, MOST_TIMES * path.stat().st_size)
    taken = _largest_chunk(opened.metadata)
    if taken <= most:
        taken = 0
        for batch in opened.iter_batches(batch_size=ROWS, columns=columns):
            rows: Rows = batch.to_pylist()
            taken = _size(rows) + (taken if kept else 0)
            if taken > most:
                break
            yield rows
        else:
            return
    raise ValueError(f"it unpacks to {taken:,} bytes and more, of {path.stat().st_size:,}")


def _largest_chunk(metadata: Any) -> int:
    """Bytes of the largest part of a column that is unpacked at once, as the file says."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return max(
        (g.column(c).total_uncompressed_size for g in groups for c in range(g.num_columns)),
        default=0,
    )


def _size(value: Any) -> int:
    """Bytes of what a row holds, nearly."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 8
