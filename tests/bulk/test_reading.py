"""Every kind of file gives its texts as they stand there, or the row that cannot be read."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.bulk.columns import Columns
from xopt.bulk.reading import open_input
from xopt.errors import DataError, InputError, XoptError
from xopt.evaluate.data import open_source
from xopt.model.given import texts_of
from xopt.model.texts import CHARACTERS, ROWS, Row, chunked

TEXTS = ["Habari za asubuhi", 'She said "hi", twice', "一二三\u3000四", "two\nlines", "tab\there"]


def write(folder: Path, ending: str, texts: list[str], **more: list[str]) -> Path:
    path = folder / f"given{ending}"
    names = ["text", *more]
    cells = zip(texts, *more.values(), strict=True)
    rows = [dict(zip(names, values, strict=True)) for values in cells]
    match ending:
        case ".txt":
            path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        case ".csv":
            with path.open("w", newline="", encoding="utf-8-sig") as stream:
                table = csv.DictWriter(stream, ["text", *more])
                table.writeheader()
                table.writerows(rows)
        case ".tsv":
            lines = ["\t".join(row) for row in [names, *(row.values() for row in rows)]]
            path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("ending", [".txt", ".csv", ".tsv", ".jsonl", ".parquet"])
def test_texts_come_back_as_they_are(tmp_path: Path, ending: str) -> None:
    fits = {".txt": 3, ".tsv": 3}.get(ending, 5)
    path = write(tmp_path, ending, TEXTS[:fits])
    # Some systems write endings in capitals.
    capitals = path.rename(path.with_suffix(ending.upper()))
    opened = open_input(capitals, Columns(), None)
    rows = list(opened.rows())
    assert [row.text for row in rows] == TEXTS[:fits]
    assert [row.number for row in rows] == list(range(1, fits + 1))
    assert opened.count() >= len(rows)
    assert "given" in rows[0].name


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_column_of_pairs_is_named(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, ending, ["a", "b"], premise=["p", "q"], label=["1", "2"])
    rows = list(open_input(path, Columns("premise", "text"), None).rows())
    assert [(row.text, row.pair) for row in rows] == [("p", "a"), ("q", "b")]
    with pytest.raises(InputError, match="no column 'premis'") as caught:
        list(open_input(path, Columns("premis"), None).rows())
    assert "premise" in caught.value.hint
    with pytest.raises(InputError, match="Both --pair"):
        open_input(path, Columns("text", "label"), "second")


@pytest.mark.parametrize(
    ("name", "header"), [("a.csv", "text;label"), ("a.csv", "text\tlabel"), ("a.tsv", "text,label")]
)
def test_columns_parted_by_something_else_are_no_text(
    tmp_path: Path, name: str, header: str
) -> None:
    path = tmp_path / name
    path.write_text(f"{header}\nHabari{header[4]}1\n")
    with pytest.raises(DataError, match="has one column"):
        list(open_input(path, Columns(), None).rows())
    # Unless it is named: then it is one.
    [row] = open_input(path, Columns(header), None).rows()
    assert row.text == f"Habari{header[4]}1"


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, ending: str) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / f"a{ending}"
    mark = "\t" if ending == ".tsv" else ","
    path.write_text(f"text{mark}text\na{mark}b\n")
    if ending == ".parquet":
        table = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
        pyarrow.parquet.write_table(table, path)
    with pytest.raises(InputError, match="has 2 columns 'text'"):
        list(open_input(path, Columns(), None).rows())


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_blank_lines_before_the_header_are_no_header(tmp_path: Path, name: str, mark: str) -> None:
    path = tmp_path / name
    path.write_text(f"\n\r\nnote{mark}text\n\nx{mark}Habari\n")
    assert [row.text for row in open_input(path, Columns(), None).rows()] == ["Habari"]


def test_the_first_object_of_a_file_decides_on_the_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"note": "a"}\n{"note": "b", "more": 1}\n{"memo": "c"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 3 has no column 'note'"):
        list(open_input(path, Columns(), None).rows())


def test_lines_from_windows_have_no_mark_and_no_return(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffHabari\r\n\r\nGood morning".encode())
    rows = list(open_input(path, Columns(), None).rows())
    assert [(row.text, row.name) for row in rows] == [
        ("Habari", "windows.txt, line 1"),
        ("Good morning", "windows.txt, line 3"),
    ]


BROKEN: list[tuple[str, bytes, str]] = [
    ("a.txt", b"fine\nok \xff\n", r"a\.txt.* line 2, byte 8"),
    ("a.csv", b"text,b\nx,1\ny\n", r"a\.csv, row 2 has 1 columns; the header has 2"),
    ("a.csv", b'text\n"open\n', r"a\.csv, row 1"),
    ("a.jsonl", b'{"text": "a"}\n{"text": 3}\n', r"a\.jsonl, line 2: 3 is no text"),
    ("a.jsonl", b'{"text": "a"}\n[1]\n', r"a\.jsonl, line 2 is no JSON object"),
    ("a.jsonl", b'{"text": "a"}\n{"tex\n', r"a\.jsonl, line 2 is no valid JSON"),
    ("a.parquet", b"PAR1 but no more", r"a\.parquet is no readable"),
    ("a.docx", b"x", r"\.docx; --input reads \.txt"),
]


@pytest.mark.parametrize(("name", "data", "said"), BROKEN)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(XoptError, match=said):
        list(open_input(path, Columns(), None).rows())


def test_a_folder_is_told_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\na\n")
    with pytest.raises(InputError, match="is a folder; it takes one file") as caught:
        open_input(tmp_path, Columns(), None)
    assert "texts.csv" in caught.value.hint
    with pytest.raises(InputError, match="There is no file") as caught:
        open_input(tmp_path / "text.csv", Columns(), None)
    assert "Did you mean 'texts.csv'?" in caught.value.hint


def test_a_device_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", Path("/dev/null")):
        with pytest.raises(InputError, match="is no regular file") as caught:
            open_input(path, Columns(), None)
        assert "> texts.txt" in caught.value.hint


def test_an_empty_cell_of_a_table_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None]}), path)
    with pytest.raises(DataError, match=r"a\.parquet, row 2: null is no text"):
        list(open_input(path, Columns(), None).rows())


def test_a_cell_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    """Arrow writes and reads such a text; its reader is the first who looks."""
    import pyarrow
    import pyarrow.parquet

    ends = pyarrow.py_buffer(np.array([0, 1, 3], np.int32))
    texts = pyarrow.StringArray.from_buffers(2, ends, pyarrow.py_buffer(b"a\xff\xfe"))
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path)
    with pytest.raises(DataError, match=r"a\.parquet, from row 1 on: .*utf-8"):
        list(open_input(path, Columns(), None).rows())
    with pytest.raises(InputError, match=r"texts cannot be read one by one: .*utf-8"):
        texts_of(texts)
    (tmp_path / "PAWS-X.de").mkdir()
    path.rename(tmp_path / "PAWS-X.de" / "test.parquet")
    probe = ("PAWS-X.de", "test")
    with pytest.raises(DataError, match=r"test\.parquet is no readable Parquet file: .*utf-8"):
        open_source(str(tmp_path), probe=probe).rows(*probe, {})


def test_rows_are_cut_in_the_same_places_whatever_reads_them() -> None:
    rows = [Row("x" * (n % 700 + 1)) for n in range(5000)]
    groups = list(chunked(iter(rows)))
    assert [row for group in groups for row in group] == rows
    assert all(len(group) <= ROWS for group in groups)
    long: list[Any] = [Row("y" * (CHARACTERS // 2 + 1))] * 3
    assert [len(group) for group in chunked(long)] == [1, 1, 1]
