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
from xopt.evaluate.retention import choose_languages, compare_sessions
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.bucc2018 import Bucc2018
from xopt.evaluate.tasks.conventions import make_task, parse_conventions
from xopt.model.session import Session

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
TAGGED = {"tokens": ["a"], "ner_tags": [0]}
POS = {"tokens": ["a"], "pos_tags": [0]}


def answered(**answers: Any) -> dict[str, Any]:
    return SPAN | {"answers": {"answer_start": [4], "text": ["two"]} | answers}


@pytest.mark.parametrize(
    ("task", "config", "good", "bad", "message"),
    [
        ("pawsx", "PAWS-X.de", PAIR, {"sentence1": "a", "label": "1"}, r"'sentence2' is missing"),
        ("pawsx", "PAWS-X.de", PAIR, PAIR | {"label": "2"}, r"the label '2' is none of 0, 1"),
        ("pawsx", "PAWS-X.de", PAIR, PAIR | {"label": 1}, r"'label' is 1, not text"),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"tokens": ["a", "b"]}, "2 tokens and 1 tags"),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"tokens": [1]}, "the token 1 is no text"),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"tokens": [None]}, "the token null is no text"),
        ("udpos", "udpos.German", POS, POS | {"tokens": [["a"]]}, r'token \["a"\] is no text'),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"ner_tags": [7]}, "tag 7 is no number from 0 to 6"),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"ner_tags": ["0"]}, "the tag '0' is no number"),
        ("panx", "PAN-X.de", TAGGED, TAGGED | {"ner_tags": [True]}, "the tag true is no number"),
        (
            "xquad", "XQuAD.de", answered(), answered(answer_start=[3]),
            "answer_start 3 is off its text: 'two' is expected",
        ),
        ("xquad", "XQuAD.de", answered(), answered(answer_start=[], text=[]), "no answer"),
        ("xquad", "XQuAD.de", answered(), answered(answer_start=4), "no answer, or not one start"),
        ("xquad", "XQuAD.de", answered(), answered(text="two"), "no answer, or not one start"),
        ("xquad", "XQuAD.de", answered(), answered(answer_start=["4"]), "'4' is no number from 0"),
        ("xquad", "XQuAD.de", answered(), answered(answer_start=[-3]), "-3 is no number from 0"),
        ("xquad", "XQuAD.de", answered(), answered(answer_start=[True]), "true is no number"),
        ("xquad", "XQuAD.de", answered(), answered(text=[3]), "answer 3 is no text"),
        ("mlqa", "MLQA.de.de", answered(), answered(text=[""]), "'' is no text, or an empty one"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(
    task: str, config: str, good: Any, bad: Any, message: str, tmp_path: Path
) -> None:
    found = make_task(task, {"split": "test"})
    source = folder(tmp_path, config, "test", [good, bad])
    with pytest.raises(DataError, match=message) as caught:
        found.load(source, "de")
    assert f"{config}/test, row 2" in caught.value.message


@pytest.mark.parametrize(
    ("task", "config", "german", "other", "bad"),
    [
        (
            "xnli", "XNLI",
            {"sentence1": "a", "sentence2": "b", "gold_label": "neutral", "language": "de"},
            {"language": "fr"}, {"gold_label": "-"},
        ),
        (
            "tydiqa", "tydiqa", answered() | {"id": "german-1"},
            {"id": "russian-1"}, {"answers": {"text": [], "answer_start": []}},
        ),
    ],
)  # fmt: skip
def test_a_row_among_other_languages_has_the_files_number(
    task: str, config: str, german: Any, other: Any, bad: Any, tmp_path: Path
) -> None:
    # Row 4 of the file is the second German one.
    rows = [german | other, german | other, german, german | other, german | bad]
    found = make_task(task, {"split": "test"})
    source = folder(tmp_path, config, "test", rows)
    with pytest.raises(DataError, match=f"{config}/test, row 5") as caught:
        found.load(source, "de")
    assert "--split validation" in caught.value.hint
    assert len(found.load(folder(tmp_path / "good", config, "test", rows[:4]), "de")) == 1


def test_the_hubs_stripped_passages_may_have_moved_answers() -> None:
    task: Any = make_task("xquad", {})
    row = SPAN | {"answers": {"answer_start": [5], "text": ["two"]}}
    assert len(task.checked([(0, row)], "de", "x", stripped=True)) == 1
    with pytest.raises(DataError):
        task.checked([(0, row)], "de", "x", stripped=False)


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
    with Session.open(bundles("encoder")) as a, Session.open(bundles("encoder", "int8")) as b:
        found = compare_sessions(task, source, a, b, resamples=20)
        assert found["task"] == "bucc2018-gold-pairs"
        assert found["metric"] == other.metric
        with pytest.raises(InputError, match="cannot be submitted"):
            compare_sessions(task, source, a, b, resamples=20, submission=tmp_path / "out")


def test_bucc_refuses_an_id_that_stands_twice(tmp_path: Path) -> None:
    gold = {"source_lang": "1", "target_lang": "2"}
    folder(tmp_path, "bucc18.de", "validation", [gold])
    twice = [{"id": "1", "text": "a"}, {"id": "3", "text": "b"}, {"id": "1", "text": "c"}]
    folder(tmp_path, "bucc18_corpus.de-en.dev", "de", twice)
    source = folder(tmp_path, "bucc18_corpus.de-en.dev", "en", [{"id": "2", "text": "b"}])
    with pytest.raises(DataError, match=r"de, row 3: the id '1' stands there twice"):
        Bucc2018(split="validation").load(source, "de")


def test_a_submission_that_would_lose_an_answer_is_refused_before_it_is_made(
    tmp_path: Path,
) -> None:
    answers = {"text": ["Rot"], "answer_start": [0]}
    row = {"id": "q1", "context": "Rot ist es.", "question": "Was?", "answers": answers}
    source = folder(tmp_path, "XQuAD.de", "validation", [row, row])
    task = make_task("xquad", {"split": "validation"})
    examples = task.load(source, "de")
    with pytest.raises(DataError, match=r"xquad, de: the id 'q1' stands there 2 times"):
        task.check_submission(examples, "de")
    task.check_submission(examples[:1], "de")


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


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"window": 3}, "max_query=64 does not fit into window=3"),
        ({"max_query": 384}, "max_query=384 does not fit into window=384"),
        ({"doc_stride": 384}, "doc_stride=384 does not fit into window=384"),
    ],
)
def test_windows_too_small_are_refused_at_once(asked: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_task("xquad", asked)
    assert "window=384, max_query=64 and doc_stride=128" in caught.value.hint


# The least that the tiny encoders' tokenizer leaves room with: <s> and </s></s> around words, four
# special tokens around a pair.
@pytest.mark.parametrize(
    ("name", "bundle", "least", "hint"),
    [
        ("panx", "ner", {"max_tokens": 4}, "max_tokens=4 and above"),
        ("xnli", "nli", {"max_tokens": 6}, "max_tokens=6 and above"),
        ("xquad", "qa", {"window": 45, "max_query": 40, "doc_stride": 9}, "window of 45 tokens"),
    ],
)
def test_a_frame_without_room_is_refused(
    name: str, bundle: str, least: dict[str, int], hint: str, bundles: Bundles
) -> None:
    task = make_task(name, least)
    examples = task.load(open_source("sample", probe=("", "")), "en")[:2]
    key = next(iter(least))
    with Session.open(bundles(bundle)) as session:
        assert len(task.answer(session, examples, lambda share: None)) == 2
        smaller = make_task(name, least | {key: least[key] - 1})
        with pytest.raises(InputError, match=r"no room|have no room") as caught:
            smaller.answer(session, examples, lambda share: None)
    assert hint in caught.value.hint


def test_the_how_tos_row_is_read_and_its_folder_named(tmp_path: Path) -> None:
    """As a reader copies it: tags by name; and --data with one folder too much."""
    text = (Path(__file__).parents[2] / "docs" / "howto" / "task-data.md").read_text()
    place, row = [line.strip() for line in text.splitlines() if line.startswith("    ")][:2]
    config, name = place.split("/")[1:]
    source = folder(tmp_path, config, name.partition(".")[0], [json.loads(row)])
    task = make_task("panx", {})
    assert [example["tags"] for example in task.load(source, "sw")] == [["B-LOC", "O", "O"]]
    inside = open_source(str(tmp_path / config), probe=("", ""))
    with pytest.raises(InputError) as caught:
        choose_languages(task, inside, None)
    assert caught.value.hint.endswith(f"--data {tmp_path}")
