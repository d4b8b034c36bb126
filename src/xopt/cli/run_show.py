"""The answers of ``xopt run``, for people and as JSON, printed as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

import numpy as np

from xopt.cli.output import console, error_console, table
from xopt.model.asking import Asking
from xopt.model.core import Model
from xopt.model.documents import result_json
from xopt.model.results import Answer, Embedding, Prediction, Result, Tags
from xopt.model.texts import Row

__all__ = ["print_answers", "show_answers"]

Answered = Iterable[tuple[Row, Result]]

# Rows of one table.
ROWS = 256
# Texts whose similarities are shown.
COMPARED = 12


def print_answers(model: Model, asking: Asking, answers: Answered) -> None:
    """One JSON document, an answer a line."""
    head = dict(model.bundle.head)
    facts = {"bundle": model.bundle.fingerprint, "head": head, "prompt": asking.prompt}
    sys.stdout.write(json.dumps(facts, ensure_ascii=False)[:-1] + ', "answers": [')
    comma = "\n"
    for row, result in answers:
        sys.stdout.write(comma + result_json(row, result, logits=True))
        comma = ",\n"
    sys.stdout.write("\n]}\n")


def show_answers(model: Model, asking: Asking, answers: Answered) -> None:
    """Tables, one for as many rows as fit on a page."""
    if asking.prompt:
        note = f"Before every text stands the checkpoint's prompt {asking.prompt!r}."
        error_console().print(note, highlight=False, markup=False)
    waiting = iter(answers)
    if model.head.kind == "embed":
        _show_embeddings(waiting)
        return
    while page := list(islice(waiting, ROWS)):
        if model.head.kind == "tag":
            for _, result in page:
                _show_tags(cast(Tags, result))
        elif model.head.kind == "span":
            cells = [_span_cells(row, cast(Answer, result)) for row, result in page]
            table("", ["question", "answer", "score"], cells, left=2)
        else:
            _show_predictions([(row, cast(Prediction, result)) for row, result in page])


def _show_predictions(page: list[tuple[Row, Prediction]]) -> None:
    says = page[0][1].says
    cells = [[row.first, result.label, _value(result.value, result.says)] for row, result in page]
    table("", ["text", "label", says], cells, left=2)


def _value(value: float, says: str) -> str:
    return f"{value:.1%}" if says == "probability" else f"{value:.4f}"


def _span_cells(row: Row, answer: Answer) -> list[str]:
    score = f"{answer.score:.4f}" if np.isfinite(answer.score) else ""
    return [row.first, answer.text, score]


def _show_tags(tags: Tags) -> None:
    cells = [
        [word, label, _value(float(values.max()), tags.says)]
        for (word, label), values in zip(tags, tags.values, strict=True)
    ]
    table("", ["token", "label", tags.says], cells, left=2)


def _show_embeddings(answers: Iterator[tuple[Row, Result]]) -> None:
    """How similar a few texts are; of many, how many there are."""
    page = [(row, cast(Embedding, result)) for row, result in islice(answers, COMPARED + 1)]
    if len(page) <= COMPARED:
        unit = np.stack([result.values for _, result in page])
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        similar = unit @ unit.T
        columns = ["", "text", "tokens", *[f"cos {n}" for n in range(1, len(page) + 1)]]
        cells = [
            [str(n), row.first, str(result.tokens), *[f"{v:.3f}" for v in similar[n - 1]]]
            for n, (row, result) in enumerate(page, 1)
        ]
        table("cosine similarity", columns, cells, left=2)
    count = len(page) + sum(1 for _ in answers)
    size = f"{count} embedding{'' if count == 1 else 's'} of {len(page[0][1].values)} values"
    advice = "--json prints them, --output FILE keeps them."
    console().print(f"{size}; {advice}", highlight=False)
