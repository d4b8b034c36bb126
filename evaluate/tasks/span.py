"""A span of a passage that answers a question: what XQuAD, MLQA and TyDiQA share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row, Source
from xopt.evaluate.metrics import squad
from xopt.evaluate.statistics import Scored, mean_of
from xopt.evaluate.tasks.base import NO_LABELS, Examples, Progress, Task, is_absent
from xopt.forms import spelled
from xopt.model.session import Session
from xopt.model.spans import (
    DOC_STRIDE,
    MAX_ANSWER,
    MAX_QUERY,
    N_BEST,
    WINDOW,
    find_span,
    read_windows,
)
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["COLUMNS", "SpanAnswers"]

EXPECTED = 'Expected: "answers": {"text": [TEXT, ...], "answer_start": [NUMBER, ...]}.'

COLUMNS = {"id": str, "context": str, "question": str, "answers": dict}


@dataclass(frozen=True)
class SpanAnswers(Task):
    """The best span of a passage, as text.

    Attributes:
        window: tokens of question and passage together; a longer passage is read in windows.
        doc_stride: from the beginning of a window to the beginning of the next; less where a
            window has no room for as much of the passage, so that none is left out.
        max_query: tokens of a question that are kept.
        n_best: starts and ends considered in a window.
        max_answer: longest answer, in tokens.

    Raises:
        InputError: ``window`` is not larger than ``max_query`` and ``doc_stride``.
    """

    window: int = WINDOW
    doc_stride: int = DOC_STRIDE
    max_query: int = MAX_QUERY
    n_best: int = N_BEST
    max_answer: int = MAX_ANSWER

    head: ClassVar[str] = "span"
    gold: ClassVar[str] = "answers"
    metric: ClassVar[str] = "(F1 + EM) / 2"
    ending: ClassVar[str] = "json"

    def __post_init__(self) -> None:
        for name in ("max_query", "doc_stride"):
            if getattr(self, name) >= self.window:
                raise InputError(
                    f"{name}={getattr(self, name)} does not fit into window={self.window}.",
                    hint="Possible: a window larger than max_query and than doc_stride, such as "
                    "XTREME's window=384, max_query=64 and doc_stride=128.",
                )

    def load(self, source: Source, language: str) -> Examples:
        config = self.config_of(language)
        rows = source.rows(config, self.split, COLUMNS)
        where = f"{config}/{self.split}"
        return self.checked(enumerate(rows, 1), language, where, stripped=source.kind == "hub")

    def checked(
        self, rows: Iterable[tuple[int, Row]], language: str, where: str, *, stripped: bool
    ) -> Examples:
        """Rows as examples.

        Args:
            rows: of one language, each with its number in the file.
            language: kept with each, for metrics that differ by it.
            where: what a message calls the rows.
            stripped: the hub's loader strips passages without moving ``answer_start``; then it is
                enough that the answer occurs.

        Raises:
            DataError: no answer, one of the wrong type, or one that is not where the row says.
        """
        found = []
        for number, row in rows:
            place = f"{where}, row {number} ({row['id']})"
            texts = _answers(row, place, stripped=stripped)
            kept = {key: row[key] for key in ("question", "context", "id")}
            found.append(kept | {"answers": texts, "language": language})
        return found

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """The text of the best span of each passage; empty if none is allowed."""
        found = []
        for index, windows, logits in session.parts(
            len(examples), lambda t, a, b: self.encode(t, examples[a:b]), progress=progress
        ):
            span = find_span(windows, logits, n_best=self.n_best, longest=self.max_answer)
            found.append(str(examples[index]["context"])[span.start : span.stop].strip())
        return found

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        return self.encode(tokenizer, examples)

    def encode(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        """The windows of each question and its passage."""
        return read_windows(
            tokenizer,
            [row["question"] for row in examples],
            [row["context"] for row in examples],
            window=self.window,
            doc_stride=self.doc_stride,
            max_query=self.max_query,
        )

    def compared(self, text: str, language: str) -> str:
        """An answer as it is compared."""
        return squad.normalise(text)

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        exact, overlap = self._each(examples, answers)
        return mean_of((exact + overlap) / 2)

    def parts(self, examples: Examples, answers: Sequence[Any]) -> dict[str, Scored]:
        exact, overlap = self._each(examples, answers)
        return {"f1": mean_of(overlap), "exact_match": mean_of(exact)}

    def _each(
        self, examples: Examples, answers: Sequence[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = np.empty((2, len(examples)))
        for number, (row, answer) in enumerate(zip(examples, answers, strict=True)):
            clean = partial(self.compared, language=row["language"])
            values[0, number] = squad.exact_match(answer, row["answers"], clean)
            values[1, number] = squad.f1(answer, row["answers"], clean)
        return values[0], values[1]

    def text(self, example: Mapping[str, Any]) -> str:
        return str(example["question"])

    def check_submission(self, examples: Examples, language: str) -> None:
        times = Counter(row["id"] for row in examples)
        again = [name for name, count in times.items() if count > 1]
        if again:
            raise DataError(
                f"{self.name}, {language}: the id {again[0]!r} stands there {times[again[0]]} "
                "times; a submission file has one answer for each id.",
                hint="Leave out --submission, or give every question an id of its own.",
            )

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        table = {row["id"]: answer for row, answer in zip(examples, answers, strict=True)}
        return json.dumps(table, ensure_ascii=False, indent=0) + "\n"


def _answers(row: Row, place: str, *, stripped: bool) -> list[str]:
    """The texts of a row's answers, checked; see :meth:`SpanAnswers.checked`."""
    texts, starts = row["answers"].get("text"), row["answers"].get("answer_start")
    lists = isinstance(texts, list) and isinstance(starts, list)
    if not lists or not texts or len(texts) != len(starts):
        raise DataError(
            f"{place}: no answer, or not one start for each.",
            hint=NO_LABELS if is_absent(texts) else EXPECTED,
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{place}: the answer {spelled(text)} is no text, or an empty one.")
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            raise DataError(f"{place}: answer_start {spelled(start)} is no number from 0 on.")
        there = row["context"][start : start + len(text)]
        if there != text and not (stripped and text in row["context"]):
            raise DataError(
                f"{place}: answer_start {start} is off its text: {text!r:.60} is expected, "
                f"{there!r:.60} stands there."
            )
    return list(texts)
