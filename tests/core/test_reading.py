"""Lines of outside text: what ends one, what does not, and what no text is."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xopt import reading
from xopt.calibrate.corpus import load_corpus
from xopt.errors import DataError, InputError
from xopt.reading import parse_json, parse_toml, read_lines, read_stream, read_text
from xopt.settings import resolve
from xopt.tune.sweep.experiment import read_experiment

LINES = ["Habari za asubuhi", "", "Xin chào", "  안녕  ", "a\fb\x0bc\x1cd\x85e\u2028f\u2029g"]


def lines(raw: bytes, **options: object) -> list[str]:
    return list(read_stream(io.BytesIO(raw), "Input", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_end_and_mark_gives_the_same_lines(end: str, mark: str, last: bool) -> None:
    text = mark + end.join(LINES) + (end if last else "")
    assert lines(text.encode()) == LINES


@given(st.text(st.sampled_from("ab\r\n\f\u2028é\ufeff")), st.integers(1, 7))
def test_lines_are_those_of_universal_newlines_whatever_the_blocks(text: str, size: int) -> None:
    class Pipe(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(size)

    expected = list(io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8-sig", newline=""))
    assert list(read_stream(Pipe(text.encode()), "Input", keep_ends=True)) == expected


def test_a_line_as_long_as_is_read_takes_one_look_at_each_byte() -> None:
    """Looked for from each byte anew, its end would take hours to find."""
    long = "neno " * 700_000
    assert lines(f"{long}\nnext\r{long}".encode()) == [long, "next", long]


def test_a_line_is_given_before_the_next_one_is_written() -> None:
    class Slow(io.RawIOBase):
        parts = iter([b"one\n", b"two"])
        read_so_far = 0

        def readable(self) -> bool:
            return True

        def read1(self, _: int = -1) -> bytes:
            self.read_so_far += 1
            return next(self.parts, b"")

    pipe = Slow()
    found = read_stream(pipe, "Input")  # type: ignore[arg-type]
    assert next(found) == "one"
    assert pipe.read_so_far == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"fine\r\n\xff\xfe\n", "Input is not valid UTF-8: line 2, byte 6"),
        (b"\xef\xbb\xbfok\rk\xf6ln", "Input is not valid UTF-8: line 2, byte 7"),
        ("Grüße".encode("latin1"), "Input is not valid UTF-8: line 1, byte 2"),
        (b"one\ntw\x00o\n", "NUL, which no text has: line 2, byte 6"),
        ("one\n".encode("utf-16"), "Input is UTF-16, not UTF-8"),
        ("one\n".encode("utf-16-be"), "NUL, which no text has: line 1, byte 0"),
        ("가".encode()[:2], "line 1, byte 0"),
    ],
)
def test_what_is_no_text_is_named_with_line_and_byte(raw: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        lines(raw)
    assert "iconv" in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-16", "latin1"])
def test_the_command_for_another_encoding_makes_the_file_readable(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "de texte.txt"
    path.write_bytes("Grüße\n".encode(encoding))
    with pytest.raises(InputError) as caught:
        read_text(path, error=InputError)
    _, command = caught.value.hint.split("first: ")
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert read_text(path, error=InputError) == "Grüße\n"


def test_a_line_without_end_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 8)
    assert lines(b"a" * 30 + b"\n", longest=30) == ["a" * 30]
    with pytest.raises(InputError, match="line 2 is longer than 30 bytes"):
        lines(b"short\n" + b"a" * 100, longest=30)


def test_json_is_read_alike_everywhere() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_json('["\\\\ud83d"]') == ["\\ud83d"]
    assert parse_json(r'{"a": "\\\uD83D\uDE00 \ud83d\ude00"}') == {"a": "\\\U0001f600 \U0001f600"}
    for raw, said in (
        ("[" * 9000, "nested too deep"), ('{"\\uD83d": 1}', "half of a surrogate pair"),
        (b'"\xff"', "utf-8"), ("{", "Expecting"), (b'["a", "\\udc00\\ud800"]', "half of"),
        (r'{"a": "\ud800", "a": 1}', "half of"), (r'{"a": {"\ud800": 1}, "a": 1}', "half of"),
        (r'["\\\ud800"]', "half of"), (r'["\ud83d\n\ude00"]', "half of"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            parse_json(raw)


@dataclass(frozen=True)
class Options:
    precision: str = "int8"
    layer: int | None = None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "9" * 5000, "value has 5000 digits$"),
        ("a = " + "[" * 5000, "nested too deep"),
        ("a" + ".b" * 5000 + " = 1", "nested too deep"),
        ("a = ", "Invalid value"),
    ],
    ids=["digits", "brackets", "dots", "nothing"],
)
def test_toml_that_no_reader_takes_is_damaged(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_toml(text)
    path = tmp_path / "xopt.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"xopt\.toml is damaged"):
        resolve(Options, "build", {}, tmp_path)
    with pytest.raises(InputError, match=r"xopt\.toml is no readable TOML"):
        read_experiment(path)


def test_files_and_settings_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "xopt.toml"
    path.write_bytes(b'\xef\xbb\xbf[build]\r\nprecision = "fp16"\r\nlayer = 3\r\n')
    assert resolve(Options, "build", {}, tmp_path) == Options("fp16", 3)
    assert read_text(path).startswith("[build]\r\n")
    path.write_bytes(b'[build]\nprecision = "\xe9"\n')
    with pytest.raises(InputError, match=r"xopt\.toml is not valid UTF-8: line 2, byte 21"):
        resolve(Options, "build", {}, tmp_path)
    with pytest.raises(DataError, match=r"xopt\.toml is not valid UTF-8"):
        list(read_lines(path))


def test_data_and_calibration_end_their_lines_alike(tmp_path: Path) -> None:
    rows = [{"text": "eins\u2028zwei"}, {"text": "drei"}]
    raw = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    place = tmp_path / "xnli"
    place.mkdir()
    (tmp_path / "texts.jsonl").write_text("\ufeff" + raw, encoding="utf-8", newline="")
    assert [text for _, text in load_corpus(str(tmp_path / "texts.jsonl")).rows] == [
        row["text"] for row in rows
    ]
    for name, text in {"sw": "\ufeffmoja\r\nmbili\r\n", "fi": "yksi\rkaksi\x0cja"}.items():
        (place / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    assert load_corpus(str(place)).rows == (
        ("fi", "yksi"), ("fi", "kaksi\x0cja"), ("sw", "moja"), ("sw", "mbili"),
    )  # fmt: skip
