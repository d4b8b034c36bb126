"""Every task on the sample and on the real data, against a plain transformers loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from xopt.artifacts import Bundle
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.tasks import TASKS, Task
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.corpora import Corpora, Mining, ids_by_text
from xopt.evaluate.tasks.labels import match_labels
from xopt.evaluate.throughput import MOST_TOKENS
from xopt.model.session import Session
from xopt.tokenization import Tokenizer

Heads = Callable[[str], Path]
Bundles = Callable[..., Bundle]

# Task -> (checkpoint of conftest.py, its head)
CHECKPOINTS = {
    "xnli": ("nli", "classify"), "pawsx": ("pair", "classify"), "udpos": ("pos", "tag"),
    "panx": ("ner", "tag"), "xquad": ("qa", "span"), "mlqa": ("qa", "span"),
    "tydiqa": ("qa", "span"), "bucc2018": ("encoder", "embed"), "tatoeba": ("encoder", "embed"),
}  # fmt: skip

# What shared/data/xtreme holds of each task.
REAL: dict[str, tuple[str, dict[str, str]]] = {
    "xnli": ("sw", {"split": "validation"}),
    "pawsx": ("de", {"split": "validation"}),
    "udpos": ("hi", {"split": "validation", "config": "udpos_xtreme"}),
    "panx": ("th", {"split": "validation"}),
    "xquad": ("th", {}),
    "mlqa": ("zh", {"split": "validation"}),
    "tydiqa": ("sw", {"split": "train"}),
    "tatoeba": ("tha", {}),
}


def plain_answers(plain: ModuleType, folder: Path, task: Task, examples: Any) -> list[Any]:
    """The same examples by the loop of benchmarks/plain_transformers.py."""
    kind = CHECKPOINTS[task.name][1]
    loop = plain.Plain(folder, kind)
    if kind == "classify":
        return [
            label.lower()
            for label in loop.classify([(row["first"], row["second"]) for row in examples])
        ]
    if kind == "tag":
        return list(loop.tag([row["tokens"] for row in examples]))
    if kind == "span":
        # The tiny encoders take 128 tokens.
        pairs = [(row["question"], row["context"]) for row in examples]
        return list(loop.span(pairs, window=128, stride=40, max_query=40))
    if task.name == "tatoeba":
        foreign = loop.embed([row["source_sentence"] for row in examples], max_tokens=128)
        english = loop.embed([row["target_sentence"] for row in examples], max_tokens=128)
        similar = english @ foreign.T
        among_all = similar.argmax(1).tolist()
        if "family" not in examples[0]:
            return list(among_all)
        for number, row in enumerate(examples):
            for other, near in enumerate(examples):
                if near["family"] == row["family"] and other != number:
                    similar[number, other] = -2
        return list(zip(similar.argmax(1).tolist(), among_all, strict=True))
    return mining(plain, loop, examples)


def mining(plain: ModuleType, loop: Any, examples: Mining) -> list[Any]:
    def pairs(corpora: Any) -> list[tuple[str, str, float]]:
        left, right = list(corpora.foreign), list(corpora.english)
        found = plain.mined_pairs(
            loop.embed(list(corpora.foreign.values()), max_tokens=128),
            loop.embed(list(corpora.english.values()), max_tokens=128),
        )
        return [(left[i], right[j], score) for i, j, score in found]

    best, threshold, right = 0.0, np.inf, 0
    tuned = pairs(examples.tuned)
    for number, (a, b, score) in enumerate(tuned, 1):
        right += (a, b) in examples.tuned.gold
        f1 = 2 * right / (number + len(examples.tuned.gold))
        if f1 > best:
            best, threshold = f1, (score + tuned[min(number, len(tuned) - 1)][2]) / 2
    scored = {a: b for a, b, score in pairs(examples.scored) if score >= threshold}
    return [scored.get(row["id"]) for row in examples]


def small(task: str, **asked: Any) -> Task:
    """A task with windows that fit the tiny encoders."""
    if CHECKPOINTS[task][1] == "span":
        asked |= {"window": 128, "doc_stride": 40, "max_query": 40}
    return make_task(task, asked)


def check(
    task: Task, source: Source, language: str, bundle: Bundle, folder: Path, plain: ModuleType,
    limit: int | None,
) -> None:  # fmt: skip
    examples = task.load(source, language)
    if limit is not None and not isinstance(examples, Mining):
        examples = examples[:limit]
    with Session.open(bundle, batch_tokens=2048) as session:
        ours = task.answer(session, examples, lambda share: None)
    theirs = plain_answers(plain, folder, task, examples)
    assert len(ours) == len(theirs) == len(examples)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    assert same >= 0.999 * len(examples), [
        p for p in zip(ours, theirs, strict=True) if p[0] != p[1]
    ]
    assert abs(task.score(examples, ours).value - task.score(examples, theirs).value) <= 0.1


@pytest.mark.parametrize("name", list(CHECKPOINTS))
def test_parity_on_the_sample(name: str, heads: Heads, bundles: Bundles, plain: ModuleType) -> None:
    checkpoint = CHECKPOINTS[name][0]
    source = open_source("sample", probe=("", ""))
    task = small(name)
    languages = task.available(source)
    for language in languages[:2]:
        check(task, source, language, bundles(checkpoint), heads(checkpoint), plain, 24)


@pytest.mark.parametrize("name", list(REAL))
def test_parity_on_real_data(
    name: str, heads: Heads, bundles: Bundles, plain: ModuleType, xtreme_data: Path
) -> None:
    language, conventions = REAL[name]
    task = small(name, **conventions)
    source = open_source(str(xtreme_data), probe=("", ""))
    if language not in task.available(source):
        language = task.available(source)[-1]
    checkpoint, kind = CHECKPOINTS[name]
    limit = 20 if kind == "span" else 60
    check(task, source, language, bundles(checkpoint), heads(checkpoint), plain, limit)


@pytest.mark.parametrize("name", list(TASKS))
def test_retention_of_every_task_on_the_sample(name: str, bundles: Bundles) -> None:
    checkpoint = CHECKPOINTS[name][0]
    task = small(name)
    source = open_source("sample", probe=("", ""))
    languages = task.available(source)[:2]
    with Session.open(bundles(checkpoint)) as a, Session.open(bundles(checkpoint, "int8")) as b:
        found = compare_sessions(task, source, a, b, languages=languages, resamples=100)
    assert found["task"] == name
    assert list(found["languages"]) == languages
    low, high = found["mean"]["ci95"]
    assert low - 1e-9 <= found["mean"]["difference"] <= high + 1e-9
    for entry in found["languages"].values():
        low, high = entry["ci95"]
        assert low - 1e-9 <= entry["difference"] <= high + 1e-9
        assert 0 <= entry["agreement"] <= 1
    names = {"tag": {"token_accuracy"}, "span": {"f1", "exact_match"}}
    kind = CHECKPOINTS[name][1]
    own = {"near_duplicates"} if name == "tatoeba" else names.get(kind, set())
    assert set(entry.get("parts", {})) == set(found["parts"]) == own
    for part in found["parts"].values():
        low, high = part["ci95"]
        assert low - 1e-9 <= part["difference"] <= high + 1e-9
    assert found["throughput"]["sentences"] > 0
    # Both engines in turn are given what the task asks, not a text of it.
    in_turn, whole = (found[part]["tokens"] for part in ("in_turn", "throughput"))
    if kind in ("classify", "tag"):
        assert in_turn == whole
    if kind == "span":
        assert MOST_TOKENS / 2 < in_turn <= MOST_TOKENS


def test_long_sentences_are_split_and_every_word_is_tagged(bundles: Bundles) -> None:
    task = make_task("panx", {})
    words = ["кошка", "", "日本語" * 60, *["word"] * 300]
    examples = [{"tokens": words, "tags": ["O"] * len(words)}, {"tokens": ["a"], "tags": ["O"]}]
    with Session.open(bundles("ner")) as session:
        found = task.answer(session, examples, lambda share: None)
        assert [len(tags) for tags in found] == [len(words), 1]
        assert session.usage.sentences > 4
        assert max(session.usage.lengths) <= 128


def test_labels_map_whatever_their_order() -> None:
    classes = ("contradiction", "entailment", "neutral")
    found = match_labels(["Neutral", "ENTAILMENT", "contradiction"], classes, {}, what="", task="")
    assert found == ["neutral", "entailment", "contradiction"]


def test_progress_is_told_while_it_goes(bundles: Bundles) -> None:
    task = make_task("xnli", {})
    source = open_source("sample", probe=("", ""))
    heard: list[float] = []
    with Session.open(bundles("nli"), batch_tokens=128) as session:
        task.answer(session, task.load(source, "en"), heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) > 3


def test_no_passage_token_stands_in_no_window(tokenizer_file: Path) -> None:
    # 60 tokens hold 4 special ones, 2 of the question and 54 of the passage: fewer than the stride.
    tokenizer = Tokenizer.open(tokenizer_file, 60)
    task: Any = make_task("xquad", {"max_query": 2})
    passage = "one two three " * 60
    windows = task.encode(tokenizer, [{"question": "who is it?", "context": passage}])[0]
    assert {len(window) for window in windows[:-1]} == {60}
    covered = np.zeros(len(passage), bool)
    begins = 0
    for window in windows:
        for start, stop in window.offsets[window.sequence == 1]:
            covered[start:stop] = True
        begins += int(window.words.sum())
    assert covered[: len(passage.rstrip())].all()
    assert begins == len(tokenizer.encode([passage], max_tokens=None)[0]) - 2


def test_pairs_are_cut_to_what_the_encoder_takes(bundles: Bundles) -> None:
    task = make_task("pawsx", {"max_tokens": 512})
    examples = [{"first": "word " * 300, "second": "word " * 300, "label": "1"}]
    with Session.open(bundles("pair")) as session:
        assert len(task.answer(session, examples, lambda share: None)) == 1
        assert session.usage.lengths == [128]


class Vectors:
    """A session whose embeddings are given by text."""

    def __init__(self, table: dict[str, list[float]]) -> None:
        self.table = table

    def encode_behind(self, prompt: str, texts: list[str]) -> list[str]:
        return [prompt + text for text in texts]

    def rows(self, count: int, encode: Any, *, progress: Any) -> Any:
        return np.array([self.table[text] for text in encode(self, 0, count)], np.float32)


def test_bucc_leaves_out_what_stands_twice() -> None:
    """As XTREME does: texts are mined once, and a pair with a text of several ids is dropped."""
    foreign = {"f1": "eins", "f2": "zwei", "f3": "zwei", "f4": "drei", "f5": "fast zwei"}
    english = {"e1": "one", "e2": "two", "e3": "three", "e4": "three"}
    assert ids_by_text(foreign) == {"eins": "f1", "zwei": None, "drei": "f4", "fast zwei": "f5"}
    assert ids_by_text(english) == {"one": "e1", "two": "e2", "three": None}
    table = {
        "eins": [1.0, 0, 0], "one": [2.0, 0, 0],
        "zwei": [0, 1.0, 0], "two": [0, 1.0, 0],
        "drei": [0, 0, 1.0], "three": [0, 0, 3.0],
        # "two" is its nearest too, but is taken by "zwei" before "zwei" is dropped.
        "fast zwei": [0, 0.8, 0.6],
    }  # fmt: skip
    corpora = Corpora(foreign, english, {("f1", "e1"), ("f2", "e2"), ("f4", "e3")})
    examples = Mining(corpora, corpora)
    task = make_task("bucc2018", {"split": "validation", "neighbours": 1})
    answers = task.answer(Vectors(table), examples, lambda share: None)  # type: ignore[arg-type]
    assert answers == ["e1", None, None, None, None]
    # One pair found, and right, of three: precision 1, recall 1/3.
    assert task.score(examples, answers).value == pytest.approx(50)


class Embedded:
    """A session that embeds every text as it was told, whatever it says."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def rows(self, count: int, make: Any, *, progress: Any) -> np.ndarray:
        assert count == len(self.vectors)
        return self.vectors


def test_near_duplicates_are_a_part_of_their_own() -> None:
    """English row 1 is closest to its near-duplicate; row 3 to a sentence of another family."""
    task = make_task("tatoeba", {})
    examples = [
        {"source_sentence": f"s{n}", "target_sentence": f"t{n}", "family": n // 2} for n in range(4)
    ]
    angles = np.radians([9, 14, 88, 60, 0, 10, 90, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    session: Any = Embedded(vectors)
    found = task.answer(session, examples, lambda share: None)
    assert found == [(0, 0), (1, 0), (2, 2), (1, 1)]
    assert task.score(examples, found).value == 75
    assert task.parts(examples, found)["near_duplicates"].value == 50
    assert task.agree((1, 0), (1, 1))
    assert not task.agree((0, 1), (1, 1))
    plain = [{k: v for k, v in row.items() if k != "family"} for row in examples]
    assert task.answer(session, plain, lambda share: None) == [0, 0, 2, 1]
    assert task.parts(plain, [0, 0, 2, 1]) == {}
