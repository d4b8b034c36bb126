"""Heads that do not fit, rows that break the schema, and conventions that do not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.errors import DataError, InputError
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.retention import choose_languages, compare_bundles
from xopt.evaluate.session import Session
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.bucc2018 import Bucc2018
from xopt.evaluate.tasks.conventions import make_task, parse_conventions

Bundles = Callable[..., Bundle]


def folder(place: Path, config: str, split: str, rows: list[dict[str, Any]]) -> Source:
    (place / config).mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / config / f"{split}.jsonl").write_text(text)
    return open_source(str(place), probe=("", ""))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("xnli", ["LABEL_0", "LABEL_1", "LABEL_2"], "'LABEL_0', 'LABEL_1', 'LABEL_2' are unknown"),
        ("xnli", ["entailment", "neutral"], "missing or double: contradiction"),
        ("xnli", ["neutral", "neutral", "entailment", "contradiction"], "double: neutral"),
        ("pawsx", ["yes", "no"], "'yes', 'no' are unknown"),
        ("panx", ["O", "B-PER", "I-PER"], "missing or double: B-ORG"),
        ("udpos", ["NOUN", "VERB"], "missing or double: ADJ"),
    ],
)
def test_labels_that_do_not_fit_are_refused(task: str, labels: list[str], message: str) -> None:
    found = TASKS.resolve(task)()
    with pytest.raises(InputError, match=message) as caught:
        found.check({"kind": found.head, "labels": labels}, "my-bundle")
    assert "my-bundle" in caught.value.message
    assert "id2label" in caught.value.hint


@pytest.mark.parametrize(
    "labels", [["0", "1"], ["LABEL_1", "LABEL_0"], ["paraphrase", "not_paraphrase"]]
)
def test_pawsx_knows_the_usual_names(labels: list[str]) -> None:
    TASKS.resolve("pawsx")().check({"kind": "classify", "labels": labels}, "b")


@pytest.mark.parametrize("task", list(TASKS))
def test_another_head_is_refused(task: str) -> None:
    found = TASKS.resolve(task)()
    with pytest.raises(InputError, match=f"needs '{found.head}'"):
        found.check({"kind": "other"}, "b")


PAIR = {"sentence1": "a", "sentence2": "b", "label": "1"}
SPAN = {"id": "q", "context": "one two", "question": "?", "answers": {}}


@pytest.mark.parametrize(
    ("task", "config", "good", "bad", "message"),
    [
        ("pawsx", "PAWS-X.de", PAIR, {"sentence1": "a", "label": "1"}, r"'sentence2' is missing"),
        ("pawsx", "PAWS-X.de", PAIR, PAIR | {"label": "2"}, r"the label '2' is none of 0, 1"),
        ("pawsx", "PAWS-X.de", PAIR, PAIR | {"label": 1}, r"'label' is 1, not a str"),
        (
            "panx", "PAN-X.de", {"tokens": ["a"], "ner_tags": [0]},
            {"tokens": ["a", "b"], "ner_tags": [0]}, "2 tokens and 1 tags",
        ),
        (
            "panx", "PAN-X.de", {"tokens": ["a"], "ner_tags": [0]},
            {"tokens": ["a"], "ner_tags": [7]}, "the tag 7 is no number from 0 to 6",
        ),
        (
            "xquad", "XQuAD.de", SPAN | {"answers": {"answer_start": [4], "text": ["two"]}},
            SPAN | {"answers": {"answer_start": [3], "text": ["two"]}},
            "answer_start 3 is off its text: 'two' is expected",
        ),
        (
            "xquad", "XQuAD.de", SPAN | {"answers": {"answer_start": [4], "text": ["two"]}},
            SPAN | {"answers": {"answer_start": [], "text": []}}, "no answer",
        ),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(
    task: str, config: str, good: Any, bad: Any, message: str, tmp_path: Path
) -> None:
    found = make_task(task, {"split": "test"})
    source = folder(tmp_path, config, "test", [good, bad])
    with pytest.raises(DataError, match=message) as caught:
        found.load(source, "de")
    assert f"{config}/test, row 1" in caught.value.message


def test_the_hubs_stripped_passages_may_have_moved_answers() -> None:
    task: Any = make_task("xquad", {})
    row = SPAN | {"answers": {"answer_start": [5], "text": ["two"]}}
    assert len(task.checked([row], "de", "x", stripped=True)) == 1
    with pytest.raises(DataError):
        task.checked([row], "de", "x", stripped=False)


def test_a_missing_split_names_the_one_that_is_there(tmp_path: Path) -> None:
    source = folder(tmp_path, "PAWS-X.de", "validation", [PAIR])
    with pytest.raises(InputError) as caught:
        choose_languages(make_task("pawsx", {}), source, None)
    assert "--split validation" in caught.value.hint
    assert choose_languages(make_task("pawsx", {"split": "validation"}), source, ["deu"]) == ["de"]


def test_bucc_from_gold_pairs_alone_has_another_name(tmp_path: Path, bundles: Bundles) -> None:
    rows = [
        {"source_sentence": s, "target_sentence": t, "source_lang": f"de-{s}", "target_lang": t}
        for s, t in (("eins", "one"), ("zwei", "two"), ("drei", "three"))
    ]
    source = folder(tmp_path, "bucc18.de", "test", rows)
    task = Bucc2018()
    other = task.on(source)
    assert other.name == "bucc2018-gold-pairs"
    assert "F1" not in other.metric.replace("not BUCC F1", "")
    with Session(bundles("encoder")) as a, Session(bundles("encoder", "int8")) as b:
        found = compare_bundles(task, source, a, b, resamples=20)
        assert found["task"] == "bucc2018-gold-pairs"
        assert found["metric"] == other.metric
        with pytest.raises(InputError, match="cannot be submitted"):
            compare_bundles(task, source, a, b, resamples=20, submission=tmp_path / "out")


def test_bucc_refuses_test_without_dev(tmp_path: Path) -> None:
    gold = {"source_sentence": "a", "target_sentence": "b", "source_lang": "1", "target_lang": "2"}
    folder(tmp_path, "bucc18.de", "test", [gold])
    folder(tmp_path, "bucc18_corpus.de-en.test", "de", [{"id": "1", "text": "a"}])
    source = folder(tmp_path, "bucc18_corpus.de-en.test", "en", [{"id": "2", "text": "b"}])
    with pytest.raises(InputError, match=r"no bucc18_corpus\.de-en\.dev"):
        Bucc2018().load(source, "de")


def test_conventions_by_name() -> None:
    found = parse_conventions(["seqeval=1.2.2", "max_tokens=64", "extra_separator=false"], ["panx"])
    task: Any = make_task("panx", found)
    assert (task.seqeval, task.max_tokens, task.extra_separator) == ("1.2.2", 64, False)
    assert task.conventions["seqeval"] == "1.2.2"
    for pair, message in (
        ("doc_strid=3", "Did you mean 'doc_stride'"),
        ("doc_stride=x", "a number from 1 on"),
        ("doc_stride", "not NAME=VALUE"),
    ):
        with pytest.raises(InputError) as caught:
            parse_conventions([pair], ["xquad"])
        assert message in str(caught.value)
    with pytest.raises(InputError, match="Unknown seqeval"):
        make_task("panx", {"seqeval": "9"})
    with pytest.raises(InputError, match="true or false"):
        parse_conventions(["extra_separator=1"], ["panx"])
