"""Tatoeba (Artetxe and Schwenk, 2019) as XTREME scores it: accuracy of the nearest neighbour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.evaluate.data import Source
from xopt.evaluate.statistics import Scored, accuracy
from xopt.evaluate.tasks.base import Examples, Progress, Task
from xopt.model.session import Session

__all__ = ["Tatoeba", "nearest"]

DIRECTIONS = ("en-xx", "xx-en")


@dataclass(frozen=True)
class Tatoeba(Task):
    """Every sentence looks for its translation among all sentences of the other language.

    The encoder's last layer is embedded by its mean, unless the bundle was built with another
    ``--layer`` or ``--pooling``. XTREME's script takes, of XLM-R large, the mean of layer 14
    (``hidden_states[14]`` of 24); both count ``<s>`` and ``</s>``.

    Attributes:
        direction: ``en-xx`` has English queries and a foreign index, as XTREME's script does.
        prefix: put before every sentence, for encoders trained with one.
    """

    config: str = "tatoeba"
    split: str = "validation"
    direction: str = "en-xx"
    prefix: str = ""

    name: ClassVar[str] = "tatoeba"
    head: ClassVar[str] = "embed"
    metric: ClassVar[str] = "accuracy"
    languages: ClassVar[tuple[str, ...]] = (
        "afr", "ara", "bul", "ben", "deu", "ell", "spa", "est", "eus", "pes", "fin", "fra",
        "heb", "hin", "hun", "ind", "ita", "jpn", "jav", "kat", "kaz", "kor", "mal", "mar",
        "nld", "por", "rus", "swh", "tam", "tel", "tha", "tgl", "tur", "urd", "vie", "cmn",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise InputError(
                f"Unknown direction {self.direction!r}.", hint=f"Possible: {', '.join(DIRECTIONS)}."
            )

    @property
    def conventions(self) -> Mapping[str, Any]:
        return {"direction": self.direction, "prefix": self.prefix, "similarity": "cosine"}

    def probe(self) -> tuple[str, str]:
        return self.config_of("deu"), self.split

    def load(self, source: Source, language: str) -> Examples:
        columns = {"source_sentence": str, "target_sentence": str}
        rows = source.rows(self.config_of(language), self.split, columns)
        # The hub's copy keeps the line feed of every sentence.
        return [{name: row[name].rstrip("\n") for name in columns} for row in rows]

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """For each query the number of the sentence it found."""
        foreign = [self.prefix + row["source_sentence"] for row in examples]
        english = [self.prefix + row["target_sentence"] for row in examples]
        texts = foreign + english
        embedded = session.rows(
            len(texts), lambda t, start, stop: t.encode(texts[start:stop]), progress=progress
        )
        index, queries = embedded[: len(foreign)], embedded[len(foreign) :]
        if self.direction == "xx-en":
            index, queries = queries, index
        return [int(i) for i in nearest(queries, index)]

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        return accuracy(np.asarray(answers) == np.arange(len(examples)))

    def text(self, example: Mapping[str, Any]) -> str:
        return str(example["source_sentence"])

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        """XTREME asks with the English sentences in alphabetical order."""
        if self.direction != "en-xx":
            raise InputError("XTREME's direction is en-xx.", hint="Leave --direction out.")
        order = sorted(range(len(examples)), key=lambda i: str(examples[i]["target_sentence"]))
        return "".join(f"{answers[i]}\n" for i in order)


def nearest(queries: NDArray[np.float32], index: NDArray[np.float32]) -> NDArray[np.intp]:
    """``[n]``: for each row of ``queries`` the row of ``index`` of the highest cosine."""
    a = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    b = index / np.linalg.norm(index, axis=1, keepdims=True)
    found: NDArray[np.intp] = (a @ b.T).argmax(axis=1)
    return found
