"""What a model answers, one value for each text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Embedding", "Prediction", "Result", "Tags"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Embedding:
    """An embedding.

    Attributes:
        values: ``[width]`` float32.
        tokens: of the text, special tokens included.
    """

    values: Array
    tokens: int


@dataclass(frozen=True)
class Prediction:
    """What a classifier says.

    Attributes:
        labels: the names of its outputs, in their order; as in the checkpoint, so perhaps one
            name twice.
        values: ``[labels]`` float32, the probability or score of each.
        says: what they are: ``probability`` or ``score``.
        logits: ``[labels]`` float32, before the last step.
        tokens: of the text or pair, special tokens included.
    """

    labels: tuple[str, ...]
    values: Array
    says: str
    logits: Array
    tokens: int

    @property
    def label(self) -> str:
        """The name of the highest value."""
        return self.labels[int(self.values.argmax())]

    @property
    def value(self) -> float:
        """The highest value."""
        return float(self.values.max())

    def named(self) -> Mapping[str, float]:
        """Every value by its name; a name that several labels have is followed by each one's id.

        ``{"neutral (0)": 0.1, "neutral (1)": 0.3, "other": 0.6}``: no value hides another.
        """
        return dict(zip(_distinct(self.labels), map(float, self.values), strict=True))


@dataclass(frozen=True)
class Tags:
    """A tag for each word, read at its first token, or for each token of a text.

    Attributes:
        words: the n words, or the characters that each token covers.
        labels: ``n`` names, the highest of each.
        values: ``[n, names]`` float32, the probability or score of each name.
        names: of the columns of ``values``.
        says: what ``values`` are: ``probability`` or ``score``.
        offsets: ``[n, 2]`` int32, the characters of the text that each covers; None for words.
        logits: ``[tokens, labels]`` float32, special tokens included, before the last step.
        pieces: ids of these tokens, ``[tokens]`` int32.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    values: Array
    names: tuple[str, ...]
    says: str
    offsets: NDArray[np.int32] | None
    logits: Array
    pieces: NDArray[np.int32]

    @property
    def tokens(self) -> int:
        """How many tokens were read, special tokens included."""
        return len(self.pieces)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(word, label) of each."""
        return iter(zip(self.words, self.labels, strict=True))


@dataclass(frozen=True)
class Answer:
    """A span of a context that answers a question.

    Attributes:
        text: its characters, without blanks around; empty if the context has no token.
        start: its first character in the context.
        stop: the one behind its last.
        score: the sum of its start's and its end's logit; ``-inf`` if there is none.
        probability: that of its start times that of its end, among the tokens of the context in
            its window.
        logits: ``[tokens, 2]`` float32 of every window, one behind the other.
        tokens: of all windows together, special tokens included.
    """

    text: str
    start: int
    stop: int
    score: float
    probability: float
    logits: Array
    tokens: int


Result = Embedding | Prediction | Tags | Answer


def _distinct(labels: Sequence[str]) -> list[str]:
    """A name for each label that no other has."""
    counts = Counter(labels)
    found: list[str] = []
    for number, label in enumerate(labels):
        name = label if counts[label] == 1 else f"{label} ({number})"
        while name != label and name in counts:
            name += f" ({number})"
        found.append(name)
    return found
