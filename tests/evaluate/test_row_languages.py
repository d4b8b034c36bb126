"""Where a row says its language, no spelling of it leaves the row out of a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xopt.errors import DataError
from xopt.evaluate.data import Source
from xopt.evaluate.tasks.conventions import make_task

PAIR = {"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}
QUESTION = {
    "context": "Rot ist es.", "question": "Was?", "answers": {"text": ["Rot"], "answer_start": [0]},
}  # fmt: skip


def source_of(place: Path, config: str, rows: list[dict[str, Any]]) -> Source:
    path = place / config / "test.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source("made", "folder", place)


def test_other_spellings_of_a_language_are_the_language(tmp_path: Path) -> None:
    codes = ("de", "DE", "deu", "de_AT", "sw")
    source = source_of(tmp_path, "XNLI", [PAIR | {"language": code} for code in codes])
    task = make_task("xnli", {"split": "test"})
    assert task.available(source) == ["de", "sw"]
    assert [len(task.load(source, code)) for code in ("de", "sw")] == [4, 1]
    ids = ("english-1", "English-2", "german-1")
    source = source_of(tmp_path, "tydiqa", [QUESTION | {"id": name} for name in ids])
    task = make_task("tydiqa", {"split": "test"})
    assert task.available(source) == ["de", "en"]
    assert [len(task.load(source, code)) for code in ("de", "en")] == [1, 2]


def test_a_row_of_no_known_language_is_refused(tmp_path: Path) -> None:
    pairs = [PAIR | {"language": code} for code in ("de", "xx")]
    source = source_of(tmp_path, "XNLI", pairs)
    with pytest.raises(DataError, match=r"XNLI/test, row 2: the language 'xx' is not known"):
        make_task("xnli", {"split": "test"}).load(source, "de")
    asked = [QUESTION | {"id": name} for name in ("english-1", "7a91")]
    source = source_of(tmp_path, "tydiqa", asked)
    with pytest.raises(DataError, match=r"row 2: the id '7a91' begins with no language"):
        make_task("tydiqa", {"split": "test"}).load(source, "en")
