"""How long real texts are, in tokens: the lengths of a data set that ``xopt eval`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from xopt.evaluate.data import open_source
from xopt.evaluate.retention import choose_languages
from xopt.evaluate.splits import settle_split
from xopt.evaluate.tasks.base import TASKS, Examples
from xopt.packing import plan_batches
from xopt.tokenization import Tokenizer

__all__ = ["DATA_SETS", "TEXTS", "RealLengths", "evenly", "task_lengths"]

# Of XTREME: pairs, words, sentences, and windows of 384 tokens.
DATA_SETS = ("xnli", "panx", "tatoeba", "xquad")
# Texts whose lengths are taken: enough for the form of a distribution, answered within seconds.
TEXTS = 256
T = TypeVar("T")


@dataclass(frozen=True)
class RealLengths:
    """Lengths of texts in their given order.

    Attributes:
        source: what they are of.
        tokens: of each text or window, special tokens included.
        cut: how many texts were longer than the encoder takes, and count as what it takes.
    """

    source: str
    tokens: tuple[int, ...]
    cut: int = 0

    def batches(self, batch_tokens: int) -> list[list[int]]:
        """Batches as an evaluation plans them, each of at most ``batch_tokens`` slots."""
        groups = plan_batches(self.tokens, batch_tokens)
        return [[self.tokens[index] for index in group] for group in groups]


def task_lengths(name: str, data: str | None, tokenizer: Tokenizer) -> RealLengths:
    """Lengths of a task's inputs, evenly over the languages that the data holds.

    Args:
        name: one of :data:`DATA_SETS`.
        data: as ``xopt eval --data`` takes it.
        tokenizer: of the bundle; what it cuts is cut.

    Raises:
        InputError: no such task, or the data has none of its languages.
        DataError: a row breaks the schema.
    """
    task = TASKS.resolve(name)()
    source = open_source(data, probe=task.probe())
    task, _ = settle_split(task, source)
    task = task.on(source).asked_of(tokenizer.spec)
    languages = choose_languages(task, source, None)
    each = -(-TEXTS // len(languages))
    tokens: list[int] = []
    for language in languages:
        examples: Examples = evenly(task.load(source, language), each)
        items = task.encodings(tokenizer, examples)
        tokens += [len(encoding) for item in items for encoding in item]
    return RealLengths(f"{name}, {len(languages)} languages of {source.label}", tuple(tokens))


def evenly(rows: Sequence[T], count: int) -> Sequence[T]:
    """At most ``count`` of them, from all over the list."""
    if len(rows) <= count:
        return rows
    return [rows[number * len(rows) // count] for number in range(count)]
