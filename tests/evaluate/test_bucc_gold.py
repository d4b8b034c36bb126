"""BUCC's gold pairs: each counts, and each must be there to be found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xopt.errors import DataError
from xopt.evaluate.data import Source
from xopt.evaluate.tasks.bucc2018 import Bucc2018


def source_of(place: Path, gold: list[tuple[str, str]]) -> Source:
    corpora = {side: [f"{side}-{i}" for i in range(4)] for side in ("de", "en")}
    files = {
        f"bucc18_corpus.de-en.dev/{side}": [{"id": name, "text": f"text {name}"} for name in ids]
        for side, ids in corpora.items()
    }
    files["bucc18.de/validation"] = [{"source_lang": a, "target_lang": b} for a, b in gold]
    for name, rows in files.items():
        path = place / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source("made", "folder", place)


def test_a_sentence_with_several_translations_is_scored_as_pairs(tmp_path: Path) -> None:
    gold = [("de-0", "en-0"), ("de-0", "en-1"), ("de-0", "en-1"), ("de-1", "en-2")]
    task = Bucc2018(split="validation")
    examples = task.load(source_of(tmp_path, gold), "de")
    # Of 3 pairs 2 are found, of 3 that are answered 2 are right, whichever of its two de-0 found.
    for one in ("en-0", "en-1"):
        assert task.score(examples, [one, "en-2", "en-3", None]).value == pytest.approx(200 / 3)
    assert task.score(examples, ["en-3", None, None, None]).value == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("de-9", "en-1"), r"bucc18\.de/validation, row 2: .*, de holds no sentence 'de-9'"),
        (("de-1", "en-9"), r"bucc18\.de/validation, row 2: .*, en holds no sentence 'en-9'"),
    ],
)
def test_a_gold_pair_that_cannot_be_found_is_refused(
    tmp_path: Path, pair: tuple[str, str], message: str
) -> None:
    source = source_of(tmp_path, [("de-0", "en-0"), pair])
    with pytest.raises(DataError, match=message) as caught:
        Bucc2018(split="validation").load(source, "de")
    assert "of one part" in caught.value.hint
