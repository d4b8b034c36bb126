"""Examples as what an encoder and its head are given, in the layout that is also evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import DataError
from xopt.model.layout import read_words
from xopt.model.spans import DOC_STRIDE, MAX_QUERY, read_windows
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer
from xopt.tune.tasks import Example, TrainingTask

__all__ = ["IGNORED", "Item", "encode_examples"]

# What the losses of transformers leave out.
IGNORED = -100


@dataclass(frozen=True)
class Item:
    """One row of a batch.

    Attributes:
        encodings: one, or one for each choice.
        target: a class or a choice (int), tags ``[n]`` int64 with -100 where none is read, or the
            first and last token of an answer ``[2]`` (0 and 0 where a window has none).
        owner: number of the example; a long one makes several items.
    """

    encodings: tuple[Encoding, ...]
    target: Any
    owner: int

    @property
    def length(self) -> int:
        """Tokens of the longest encoding."""
        return max(len(encoding) for encoding in self.encodings)

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(len(encoding) for encoding in self.encodings)


def encode_examples(
    task: TrainingTask,
    examples: Sequence[Example],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    max_tokens: int,
) -> list[Item]:
    """Every example as one item or several.

    Args:
        task: whose head decides the form.
        examples: as :mod:`xopt.tune.tasks` reads them.
        labels: class names by number.
        tokenizer: of the checkpoint.
        max_tokens: of an encoding.
    """
    limit = min(max_tokens, tokenizer.max_tokens)
    encode = {"classify": _pairs, "choice": _choices, "tag": _tags, "span": _spans}[task.head]
    return encode(examples, labels, tokenizer, limit)


def _pairs(
    examples: Sequence[Example], labels: Sequence[str], tokenizer: Tokenizer, limit: int
) -> list[Item]:
    first, second = ([row[key] for row in examples] for key in ("first", "second"))
    encoded = tokenizer.encode(first, second, max_tokens=limit)
    numbers = {name: number for number, name in enumerate(labels)}
    return [
        Item((encoding,), numbers[row["label"]], owner)
        for owner, (encoding, row) in enumerate(zip(encoded, examples, strict=True))
    ]


def _choices(
    examples: Sequence[Example], labels: Sequence[str], tokenizer: Tokenizer, limit: int
) -> list[Item]:
    count = len(examples[0]["choices"])
    for number, row in enumerate(examples, 1):
        if len(row["choices"]) != count:
            raise DataError(
                f"Example {number} has {len(row['choices'])} choices, the first has {count}."
            )
    first = [row["first"] for row in examples for _ in range(count)]
    second = [choice for row in examples for choice in row["choices"]]
    encoded = tokenizer.encode(first, second, max_tokens=limit)
    return [
        Item(tuple(encoded[n * count : (n + 1) * count]), row["label"], n)
        for n, row in enumerate(examples)
    ]


def _tags(
    examples: Sequence[Example], labels: Sequence[str], tokenizer: Tokenizer, limit: int
) -> list[Item]:
    numbers = {name: number for number, name in enumerate(labels)}
    # A checkpoint may be tuned on fewer tokens than it takes, and never on more.
    room = min(limit, tokenizer.max_tokens)
    sentences = [row["tokens"] for row in examples]
    parts = read_words(tokenizer, sentences, room, extra_separator=True)
    items = []
    for owner, (row, pieces) in enumerate(zip(examples, parts, strict=True)):
        # A dev tag that training never shows cannot be learned; it still counts as a mistake.
        tags = iter([numbers.get(tag, IGNORED) for tag in row["tags"]])
        for part in pieces:
            assert part.words is not None
            target = np.array([next(tags) if w else IGNORED for w in part.words], np.int64)
            items.append(Item((part,), target, owner))
    return items


def _spans(
    examples: Sequence[Example], labels: Sequence[str], tokenizer: Tokenizer, limit: int
) -> list[Item]:
    # XTREME's own numbers at its window of 384; smaller windows still overlap and hold a question.
    windows = read_windows(
        tokenizer,
        [row["question"] for row in examples],
        [row["context"] for row in examples],
        window=limit,
        doc_stride=min(DOC_STRIDE, limit // 3),
        max_query=min(MAX_QUERY, limit // 4),
    )
    items = []
    for owner, (row, parts) in enumerate(zip(examples, windows, strict=True)):
        wanted = None
        if row["answers"]:
            start = row["starts"][0]
            wanted = (start, start + len(row["answers"][0]))
        items += [Item((part,), _place(part, wanted), owner) for part in parts]
    return items


def _place(window: Encoding, wanted: tuple[int, int] | None) -> NDArray[np.int64]:
    """``[2]``: first and last token of an answer that lies whole in the window, else 0 and 0."""
    assert window.sequence is not None
    assert window.offsets is not None
    none = np.zeros(2, np.int64)
    inside = np.flatnonzero(window.sequence == 1)
    if wanted is None or not len(inside):
        return none
    starts, stops = window.offsets[inside, 0], window.offsets[inside, 1]
    if wanted[0] < starts[0] or wanted[1] > stops[-1]:
        return none
    touched = inside[(stops > wanted[0]) & (starts < wanted[1])]
    return np.array([touched[0], touched[-1]], np.int64) if len(touched) else none
