"""A tag for each word: what UD-POS and PAN-X share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xopt.errors import DataError, InputError, did_you_mean
from xopt.evaluate.data import Source
from xopt.evaluate.metrics.chunks import SEQEVAL, chunk_f1, token_accuracy
from xopt.evaluate.statistics import Scored
from xopt.evaluate.tasks.base import NO_LABELS, Examples, Progress, Task, is_absent
from xopt.evaluate.tasks.labels import match_labels
from xopt.forms import spelled
from xopt.model.layout import read_words
from xopt.model.session import Session
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["Tagging", "tag_name"]


def tag_name(tag: object, names: Sequence[str]) -> str:
    """The name of a tag that is given by its number, as in XTREME, or by name.

    Args:
        tag: of a row.
        names: of all tags, by number; any name is one if there are none.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(tag, int) and not isinstance(tag, bool) and 0 <= tag < len(names):
        return names[tag]
    if isinstance(tag, str) and (tag in names or not names):
        return tag
    raise ValueError(f"the tag {spelled(tag)} is no number from 0 to {len(names) - 1} and no name")


@dataclass(frozen=True)
class Tagging(Task):
    """A tag for each word, read at its first piece.

    Attributes:
        max_tokens: a longer sentence is split between words, and its tags are joined again.
        seqeval: whose reading of tags without a prefix counts: ``0.0.12``, with which XTREME's
            paper was scored, or ``1.2.2``.
        extra_separator: see :meth:`~xopt.model.layout.Frame.words`.
        tags: the data set's classes, by number.
        column: where their numbers or names stand.
    """

    max_tokens: int = 128
    seqeval: str = "0.0.12"
    extra_separator: bool = True

    head: ClassVar[str] = "tag"
    metric: ClassVar[str] = "seqeval F1"
    tags: ClassVar[tuple[str, ...]]
    column: ClassVar[str]

    def __post_init__(self) -> None:
        if self.seqeval not in SEQEVAL:
            raise InputError(
                f"Unknown seqeval {self.seqeval!r}.", hint=did_you_mean(self.seqeval, SEQEVAL)
            )

    def check(self, head: Mapping[str, Any], what: str) -> None:
        super().check(head, what)
        match_labels(head["labels"], self.tags, {}, what=what, task=self.name)

    def load(self, source: Source, language: str) -> Examples:
        config = self.config_of(language)
        rows = source.rows(config, self.split, {"tokens": list, self.column: list})
        return [
            self._example(row["tokens"], row[self.column], f"{config}/{self.split}, row {number}")
            for number, row in enumerate(rows, 1)
        ]

    def _example(self, tokens: Sequence[Any], tags: Sequence[Any], where: str) -> dict[str, Any]:
        if len(tokens) != len(tags) or not tokens:
            raise DataError(
                f"{where}: {len(tokens)} tokens and {len(tags)} tags.",
                hint=NO_LABELS if tokens and is_absent(tags) else "",
            )
        for token in tokens:
            if not isinstance(token, str):
                raise DataError(f"{where}: the token {spelled(token)} is no text.")
        try:
            named = [tag_name(tag, self.tags) for tag in tags]
        except ValueError as error:
            raise DataError(
                f"{where}: {error}.",
                hint=NO_LABELS if is_absent(tags) else f"In this order: {' '.join(self.tags)}.",
            ) from error
        return {"tokens": [self.clean(t) for t in tokens], "tags": named}

    def clean(self, token: str) -> str:
        """A word as the encoder sees it."""
        return token

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """The tags of each sentence."""
        names = match_labels(session.bundle.head["labels"], self.tags, {}, what="", task=self.name)
        found: list[list[str]] = []
        sentences = [row["tokens"] for row in examples]
        for _, parts, logits in session.parts(
            len(sentences), lambda t, a, b: self.encode(t, sentences[a:b]), progress=progress
        ):
            best = [x[p.words == 1].argmax(axis=1) for p, x in zip(parts, logits, strict=True)]
            found.append([names[i] for i in np.concatenate(best)])
        return found

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        return self.encode(tokenizer, [row["tokens"] for row in examples])

    def encode(
        self, tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]
    ) -> list[list[Encoding]]:
        """Each sentence in as many parts as it needs; ``words`` is 1 at a word's first piece."""
        limit = min(self.max_tokens, tokenizer.max_tokens)
        return read_words(tokenizer, sentences, limit, extra_separator=self.extra_separator)

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        return chunk_f1([row["tags"] for row in examples], answers, self.seqeval)

    def parts(self, examples: Examples, answers: Sequence[Any]) -> dict[str, Scored]:
        return {"token_accuracy": token_accuracy([row["tags"] for row in examples], answers)}

    def text(self, example: Mapping[str, Any]) -> str:
        return " ".join(example["tokens"])

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        return "".join("\n".join(tags) + "\n\n" for tags in answers)
