"""Rows of a Parquet file are counted as they unpack: a small one can hold gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from xopt.bulk.columns import Columns
from xopt.bulk.reading import open_input
from xopt.calibrate.corpus import load_corpus
from xopt.errors import DataError
from xopt.evaluate import data
from xopt.parquet import MOST_TIMES, read_rows

TEXT = "a" * 9000
COUNT = 1000


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """9 MB of text in some hundred bytes, where 1 MiB is allowed."""
    path = tmp_path / "sw.parquet"
    parquet.write_table(pa.table({"text": [TEXT] * COUNT}), path, compression="zstd")
    assert path.stat().st_size < (1 << 20) / MOST_TIMES
    monkeypatch.setattr("xopt.parquet.MOST_BYTES", 1 << 20)
    return path


def test_whoever_keeps_all_rows_refuses_a_file_that_unpacks_to_too_much(packed: Path) -> None:
    for read in (lambda: load_corpus(str(packed)), lambda: list(data._parquet(packed))):
        with pytest.raises(DataError, match=r"sw\.parquet .* unpacks to [0-9,]+ bytes and more"):
            read()


def test_whoever_reads_row_after_row_reads_them_all(packed: Path) -> None:
    rows = open_input(packed, Columns(None, None), None).rows()
    assert sum(row.first == TEXT for row in rows) == COUNT


def test_a_page_that_is_larger_than_all_rows_may_be_is_not_unpacked(packed: Path) -> None:
    table = pa.table({"text": ["b"], "other": [bytes(1 << 21)]})
    parquet.write_table(table, packed, compression="zstd")
    with (
        parquet.ParquetFile(packed) as opened,
        pytest.raises(ValueError, match=r"unpacks to 2,097,\d+ bytes"),
    ):
        next(read_rows(opened, packed, ["text"], kept=False))


@pytest.mark.parametrize("kept", [True, False])
def test_rows_are_those_of_arrow(tmp_path: Path, kept: bool) -> None:
    words: list[Any] = [[], ["a", "b"], None] * 70
    table = pa.table({"n": list(range(210)), "words": words, "more": [{"a": "x"}] * 210})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=50)
    with parquet.ParquetFile(tmp_path / "t.parquet") as opened:
        found = [
            row for rows in read_rows(opened, tmp_path / "t.parquet", kept=kept) for row in rows
        ]
    assert found == table.to_pylist()
