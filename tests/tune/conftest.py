"""Toy data that a two-layer encoder can learn, in the columns of each real task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from xopt.tune.tasks import TASKS

Rows = list[dict[str, Any]]
WORDS = ("river", "stone", "cloud", "paper", "green", "seven", "north", "table")


def _words(draw: random.Random, count: int) -> list[str]:
    return [draw.choice(WORDS) for _ in range(count)]


def pairs(columns: tuple[str, str, str], labels: Sequence[Any]) -> Callable[[random.Random], Any]:
    """The class is the first word of the second sentence."""

    def row(draw: random.Random) -> dict[str, Any]:
        number = draw.randrange(len(labels))
        second = [("yes", "no", "perhaps")[number], *_words(draw, 2)]
        values = (" ".join(_words(draw, 3)), " ".join(second), labels[number])
        return dict(zip(columns, values, strict=True))

    return row


def span(draw: random.Random, *, empty: bool = False) -> dict[str, Any]:
    """The answer is the number in the passage."""
    words = _words(draw, 6)
    place = draw.randrange(6)
    answer = draw.choice(("42", "77", "13"))
    if not (empty and draw.random() < 0.3):
        words[place] = answer
    else:
        answer = ""
    context = " ".join(words)
    found = {"text": [answer], "answer_start": [context.index(answer)]} if answer else None
    return {
        "id": "english-1",
        "question": "Which number?",
        "context": context,
        "answers": found or {"text": [], "answer_start": []},
    }


def tags(column: str, names: Sequence[Any]) -> Callable[[random.Random], Any]:
    """Each word has its own tag."""

    def row(draw: random.Random) -> dict[str, Any]:
        chosen = _words(draw, draw.randint(3, 6))
        return {"tokens": chosen, column: [names[WORDS.index(w) % len(names)] for w in chosen]}

    return row


def _choice(draw: random.Random, count: int) -> tuple[str, list[str], int]:
    right = draw.randrange(count)
    options = [" ".join(("no", *_words(draw, 2))) for _ in range(count)]
    options[right] = " ".join(("yes", *_words(draw, 2)))
    return " ".join(_words(draw, 3)), options, right


def hellaswag(draw: random.Random) -> dict[str, Any]:
    context, endings, right = _choice(draw, 4)
    return {"ctx": context, "endings": endings, "label": str(right)}


def cosmosqa(draw: random.Random) -> dict[str, Any]:
    context, options, right = _choice(draw, 4)
    answers = {f"answer{n}": option for n, option in enumerate(options)}
    return {"context": context, "question": "Which?", "label": right} | answers


def commonsenseqa(draw: random.Random) -> dict[str, Any]:
    question, options, right = _choice(draw, 5)
    choices = {"label": list("ABCDE"), "text": options}
    return {"question": question, "choices": choices, "answerKey": "ABCDE"[right]}


TOYS: Mapping[str, Callable[[random.Random], Any]] = {
    "anli": pairs(("premise", "hypothesis", "label"), (0, 1, 2)),
    "mnli": pairs(("premise", "hypothesis", "label"), ("entailment", "neutral", "contradiction")),
    "qqp": pairs(("question1", "question2", "label"), (0, 1)),
    "squad": span,
    "squad2": lambda draw: span(draw, empty=True),
    "hellaswag": hellaswag,
    "ccg": tags("tags", ("N", "NP/N", "(S\\NP)/NP")),
    "cosmosqa": cosmosqa,
    "commonsenseqa": commonsenseqa,
    "panx": tags("ner_tags", (0, 1, 3)),
    "udpos": tags("pos_tags", (0, 7, 15)),
    "tydiqa": span,
    "pawsx": pairs(("sentence1", "sentence2", "label"), ("0", "1")),
    "xnli-validation": lambda draw: (
        {"language": "en"}
        | pairs(
            ("sentence1", "sentence2", "gold_label"), ("contradiction", "entailment", "neutral")
        )(draw)
    ),
}
# Tasks without rows of their own.
BORROWED = {"xnli": "mnli", "xquad": "squad", "mlqa": "squad"}


ToyFactory = Callable[..., Path]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> ToyFactory:
    """``toy_data("mnli", "squad", train=64)``: a data folder with those tasks."""

    def make(*names: str, train: int = 96, dev: int = 24, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("toy")
        for name in names:
            own = BORROWED.get(name, name)
            draw = random.Random(f"{own}-{seed}")
            rows = [TOYS[own](draw) for _ in range(train + dev)]
            write_rows(folder / own / f"{TASKS[name].train_split}.jsonl", rows[dev:])
            if TASKS[name].dev_split is not None:
                write_rows(folder / own / "validation.jsonl", rows[:dev])
        return folder

    return make
