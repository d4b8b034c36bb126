"""Sentence pairs and a class: what XNLI and PAWS-X share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row
from xopt.evaluate.statistics import Scored, accuracy
from xopt.evaluate.tasks.base import NO_LABELS, Examples, Progress, is_absent
from xopt.evaluate.tasks.labels import match_labels
from xopt.evaluate.tasks.prompted import Prompted
from xopt.forms import spelled
from xopt.model.session import Session
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["PairClassification"]


@dataclass(frozen=True)
class PairClassification(Prompted):
    """A class for each pair of sentences.

    Attributes:
        max_tokens: a longer pair is cut, the longer sentence first.
        classes: the data set's names of the classes.
        aliases: what checkpoints call them too, in lower case.
    """

    max_tokens: int = 128

    head: ClassVar[str] = "classify"
    metric: ClassVar[str] = "accuracy"
    classes: ClassVar[tuple[str, ...]]
    aliases: ClassVar[Mapping[str, str]] = {}

    def check(self, head: Mapping[str, Any], what: str) -> None:
        super().check(head, what)
        match_labels(head["labels"], self.classes, self.aliases, what=what, task=self.name)

    def checked(self, rows: Iterable[tuple[int, Row]], label: str, where: str) -> Examples:
        """Rows, each with its number in the file, as examples.

        Raises:
            DataError: a label that the task does not have.
        """
        found = []
        for number, row in rows:
            if row[label] not in self.classes:
                raise DataError(
                    f"{where}, row {number}: the label {spelled(row[label])} is none of "
                    f"{', '.join(self.classes)}.",
                    hint=NO_LABELS if is_absent(row[label]) else "",
                )
            found.append(
                {"first": row["sentence1"], "second": row["sentence2"], "label": row[label]}
            )
        return found

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """The name of the class of each pair."""
        limit = min(self.max_tokens, session.tokenizer.max_tokens)
        # Below the special tokens alone the tokenizer would not cut at all.
        least = session.tokenizer.fast.num_special_tokens_to_add(is_pair=True) + 2
        if limit < least:
            raise InputError(
                f"{limit} tokens have no room for two sentences.",
                hint=f"Possible: --convention max_tokens={least} and above.",
            )
        logits = session.rows(
            len(examples),
            lambda t, a, b: self._encode(t, examples[a:b], limit),
            progress=progress,
        )
        names = match_labels(
            session.bundle.head["labels"], self.classes, self.aliases, what="", task=self.name
        )
        return [names[i] for i in logits.argmax(axis=1)]

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        limit = min(self.max_tokens, tokenizer.max_tokens)
        return [[one] for one in self._encode(tokenizer, examples, limit)]

    def _encode(self, tokenizer: Tokenizer, examples: Examples, limit: int) -> list[Encoding]:
        first, second = ([row[side] for row in examples] for side in ("first", "second"))
        return tokenizer.encode_behind(self.prefix or "", first, second, max_tokens=limit)

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        gold = [row["label"] for row in examples]
        return accuracy(np.array([a == b for a, b in zip(answers, gold, strict=True)]))

    def text(self, example: Mapping[str, Any]) -> str:
        return str(example["first"])

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        return "".join(f"{label}\n" for label in answers)
