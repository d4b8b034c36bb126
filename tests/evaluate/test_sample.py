"""The sample data: counts, balance, languages, spans, and that it is what its script makes."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import load_script

from xopt.evaluate.data import SAMPLE, open_source
from xopt.evaluate.tasks import TASKS
from xopt.languages import to_iso1

NEEDED = {"ar", "zh", "th", "hi", "sw", "te"}
SOURCE = open_source("sample", probe=("", ""))
FILES = sorted(SAMPLE.glob("*/*.jsonl"))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in texts(v)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_has_enough_of_ten_languages(name: str) -> None:
    task = TASKS.resolve(name)()
    assert task.on(SOURCE) is task
    languages = task.available(SOURCE)
    assert len(languages) >= 10
    assert {to_iso1(code) for code in languages} >= NEEDED
    for code in languages:
        assert len(task.load(SOURCE, code)) >= 24, code


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_text_is_normalised_and_no_row_stands_twice(path: Path) -> None:
    found = rows(path)
    assert len({json.dumps(row, sort_keys=True) for row in found}) == len(found)
    for row in found:
        for text in texts(row):
            assert unicodedata.normalize("NFC", text) == text
            assert text == text.strip() != ""


def test_labels_are_balanced() -> None:
    by_language: dict[str, Counter[str]] = {}
    for row in rows(SAMPLE / "XNLI" / "test.jsonl"):
        by_language.setdefault(row["language"], Counter())[row["gold_label"]] += 1
    assert len(by_language) >= 10
    for counts in by_language.values():
        assert counts == {"entailment": 8, "neutral": 8, "contradiction": 8}
    for path in SAMPLE.glob("PAWS-X.*/test.jsonl"):
        assert Counter(row["label"] for row in rows(path)) == {"0": 12, "1": 12}


def test_passages_have_three_questions_and_answers_in_place() -> None:
    paths = [*SAMPLE.glob("XQuAD.*/*.jsonl"), *SAMPLE.glob("MLQA.*/*.jsonl")]
    groups = [rows(path) for path in paths]
    tydiqa: dict[str, list[dict[str, Any]]] = {}
    for row in rows(SAMPLE / "tydiqa" / "validation.jsonl"):
        tydiqa.setdefault(row["id"].split("-")[0], []).append(row)
    for found in (*groups, *tydiqa.values()):
        assert len({row["id"] for row in found}) == len(found)
        assert set(Counter(row["context"] for row in found).values()) == {3}
        assert len({row["context"] for row in found}) == 8
        for row in found:
            for text, start in zip(
                row["answers"]["text"], row["answers"]["answer_start"], strict=True
            ):
                assert row["context"][start : start + len(text)] == text


def test_tags_cover_the_classes() -> None:
    for path in SAMPLE.glob("PAN-X.*/test.jsonl"):
        tags = Counter(tag for row in rows(path) for tag in row["ner_tags"])
        assert all(tags[begin] >= 8 for begin in (1, 3, 5)), path
        for row in rows(path):
            # IOB2: an I follows a B or an I of its own class.
            for before, tag in zip([0, *row["ner_tags"]], row["ner_tags"], strict=False):
                assert tag not in (2, 4, 6) or before in (tag - 1, tag), path
    for path in SAMPLE.glob("udpos.*/test.jsonl"):
        kinds = {tag for row in rows(path) for tag in row["pos_tags"]}
        assert kinds >= {7, 15}, path
        assert len(kinds) >= 8, path


def test_the_bucc_sample_is_what_its_script_makes(tmp_path: Path) -> None:
    load_script(SAMPLE / "make_bucc_sample.py").main(tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.jsonl")}
    kept = {p.relative_to(SAMPLE): p.read_bytes() for p in SAMPLE.glob("bucc18*/*.jsonl")}
    assert made == kept


def test_bucc_dev_and_test_share_no_sentence_and_have_distractors() -> None:
    for path in SAMPLE.glob("bucc18_corpus.*-en.dev"):
        language = path.name.split(".")[1][:2]
        other = path.with_name(path.name.replace(".dev", ".test"))
        for side in (language, "en"):
            dev = {row["text"] for row in rows(path / f"{side}.jsonl")}
            test = {row["text"] for row in rows(other / f"{side}.jsonl")}
            assert not dev & test
            assert len(dev) == len(test) == 24
        gold = rows(SAMPLE / f"bucc18.{language}" / "test.jsonl")
        assert len(gold) == 16
        ids = {row["id"]: row["text"] for row in rows(other / f"{language}.jsonl")}
        assert all(ids[row["source_lang"]] == row["source_sentence"] for row in gold)
