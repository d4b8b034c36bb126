import json
import unicodedata
from pathlib import Path

import pytest

from xopt.calibrate.corpus import DEFAULT, count_words, load_corpus
from xopt.errors import DataError, InputError
from xopt.languages import NAMES

CLASSES = {"short": (3, 12), "middle": (13, 50), "long": (51, 200)}


def class_of(words: float) -> str | None:
    # Half a word of room: characters are only an estimate of words where none are marked.
    for name, (low, high) in CLASSES.items():
        if low - 0.5 <= words < high + 0.5:
            return name
    return None


@pytest.mark.parametrize("language", sorted(NAMES))
def test_every_language_has_balanced_texts_of_all_lengths(language: str) -> None:
    rows = [text for code, text in load_corpus().rows if code == language]
    assert len(rows) >= 12
    counts = dict.fromkeys(CLASSES, 0)
    for text in rows:
        assert unicodedata.is_normalized("NFC", text)
        assert text == text.strip()
        found = class_of(count_words(text, language))
        assert found is not None, (language, count_words(text, language), text[:60])
        counts[found] += 1
    assert min(counts.values()) >= 4, counts
    assert max(count_words(text, language) for text in rows) >= 150


SCRIPTS = {
    "ar": "ARABIC", "bg": "CYRILLIC", "bn": "BENGALI", "el": "GREEK", "fa": "ARABIC",
    "he": "HEBREW", "hi": "DEVANAGARI", "ja": ("CJK", "HIRAGANA", "KATAKANA"), "ka": "GEORGIAN",
    "kk": "CYRILLIC", "ko": "HANGUL", "ml": "MALAYALAM", "mr": "DEVANAGARI", "my": "MYANMAR",
    "ru": "CYRILLIC", "ta": "TAMIL", "te": "TELUGU", "th": "THAI", "ur": "ARABIC", "zh": "CJK",
}  # fmt: skip


@pytest.mark.parametrize("language", sorted(NAMES))
def test_a_language_is_written_in_its_script(language: str) -> None:
    script = SCRIPTS.get(language, "LATIN")
    for text in (text for code, text in load_corpus().rows if code == language):
        letters = [c for c in text if c.isalpha()]
        native = sum(unicodedata.name(c, "").startswith(script) for c in letters)
        assert native > len(letters) - native, text


def test_no_calibration_text_is_an_evaluation_text() -> None:
    calibration = {text for _, text in load_corpus().rows}
    sample = DEFAULT.parents[1] / "evaluate" / "data"
    evaluation = {
        value
        for path in sample.rglob("*.jsonl")
        for line in path.read_text().splitlines()
        for value in json.loads(line).values()
        if isinstance(value, str)
    }
    assert evaluation
    assert not calibration & evaluation


def test_no_text_is_there_twice() -> None:
    texts = [text for _, text in load_corpus().rows]
    assert len(texts) == len(set(texts))


def test_files_and_folders_and_language_columns(tmp_path: Path) -> None:
    (tmp_path / "sw.txt").write_text("Habari\n\nNzuri sana\n")
    rows = [{"text": "hallo", "language": "de"}, {"sentence": "bonjour", "lang": "fr"}]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_corpus(str(tmp_path))
    assert set(corpus.rows) == {
        ("sw", "Habari"), ("sw", "Nzuri sana"), ("de", "hallo"), ("fr", "bonjour"),
    }  # fmt: skip
    assert load_corpus(str(tmp_path / "sw.txt")).languages == ["sw"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("th.txt", b"", "th.txt holds no text"),
        ("th.txt", b" \n\n", "th.txt holds no text"),
        ("th.jsonl", b"", "th.jsonl holds no text"),
        ("th.csv", b"text\nx\n", "th.csv has the ending '.csv'"),
        ("th.TXT", b"x\n", "th.TXT has the ending '.TXT'"),
        ("th.jsonl.gz", b"x", "has the ending '.gz'"),
        ("Thai.tsv", b"x", "Thai.tsv has the ending '.tsv'"),
        ("train.tsv", b"x", "train.tsv has the ending '.tsv'"),
        ("train.TXT", b"x", "train.TXT has the ending '.TXT'"),
        ("train.txt.gz", b"x", "has the ending '.gz'"),
        ("th", None, "th is a folder"),
    ],
)
def test_no_language_of_a_folder_is_left_out_in_silence(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    (tmp_path / "sw.txt").write_text("Habari\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("Of three languages.\n", encoding="utf-8")
    # What macOS leaves beside a file of a foreign disk.
    (tmp_path / "._sw.txt").write_bytes(b"\0\5\x16\7")
    assert load_corpus(str(tmp_path)).languages == ["sw"]
    if data is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises((DataError, InputError), match=message) as caught:
        load_corpus(str(tmp_path))
    assert caught.value.hint


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": ["один", "два"], "language": ["ru", "ru"]})
    parquet.write_table(table, tmp_path / "c.parquet")
    assert load_corpus(str(tmp_path / "c.parquet")).rows == (("ru", "один"), ("ru", "два"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"fine\n\xff\xfe\n", "not valid UTF-8: line 2, byte 5"),
        ("a.jsonl", b"{", "line 1 is no valid JSON"),
        ("a.jsonl", b"[1]", "line 1 is no JSON object"),
        ("a.jsonl", b'{"words": "x"}', "line 1: no text column"),
        ("a.jsonl", b'{"text": "  "}', "line 1: the text is empty"),
        ("a.jsonl", b'{"text": "\\u200b\\u0001"}', "line 1: .* format characters alone"),
        ("a.txt", "\u200b\n\u2060\x01\n".encode(), "holds no text"),
        ("a.jsonl", b'{"text": 5}', "line 1: text is 5, which is no text"),
        ("a.jsonl", b'{"text": null}', "line 1: text is None, which is no text"),
        ("a.jsonl", b'{"text": "x", "language": 3}', "line 1: language is 3, which is no text"),
        ("a.parquet", b"PAR1", "no readable Parquet"),
        ("a.csv", b"x", "has the ending '.csv'"),
        ("a.txt", b"", "holds no text"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((DataError, InputError), match=message):
        load_corpus(str(tmp_path / name))


def test_an_empty_language_is_none(tmp_path: Path) -> None:
    (tmp_path / "sw.jsonl").write_text('{"text": "Habari", "language": " ", "lang": ""}\n')
    assert load_corpus(str(tmp_path / "sw.jsonl")).languages == ["sw"]


def test_a_language_may_be_stated_by_its_name(tmp_path: Path) -> None:
    """And is then the same language as by its code; one that nobody knows stays what it is."""
    (tmp_path / "Swahili.txt").write_text("Habari\n")
    (tmp_path / "sw.train.txt").write_text("Nzuri\n")
    stated = ["GERMAN", "de", "western frisian", "swh_Latn", "Klingon", None]
    rows = [{"text": f"text {n}", "language": name} for n, name in enumerate(stated)]
    (tmp_path / "zh.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [language for language, _ in load_corpus(str(tmp_path)).rows]
    assert found == ["sw", "sw", "de", "de", "fy", "sw-Latn", "Klingon", "zh"]


def test_a_data_set_without_an_id_is_told() -> None:
    with pytest.raises(InputError, match="hub: names no data set"):
        load_corpus("hub:")


def test_a_missing_corpus_says_what_is_possible(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no calibration corpus") as caught:
        load_corpus(str(tmp_path / "nowhere.txt"))
    assert "hub:ID" in caught.value.hint
    assert "the folder of xopt calibrate -o" in caught.value.hint
