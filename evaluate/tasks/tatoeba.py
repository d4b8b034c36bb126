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
from xopt.evaluate.tasks.base import Examples, Progress
from xopt.evaluate.tasks.retrieval import Retrieval
from xopt.model.session import Session

__all__ = ["Tatoeba", "nearest"]

DIRECTIONS = ("en-xx", "xx-en")


@dataclass(frozen=True)
class Tatoeba(Retrieval):
    """Every sentence looks for its translation among all sentences of the other language.

    Rows of our sample name their ``family``, four sentences that differ in one detail. There the
    score is among the sentences of the other families, and a part of its own says what is found
    among all.

    The encoder's last layer is embedded by its mean, unless the bundle was built with another
    ``--layer`` or ``--pooling``. XTREME's script takes, of XLM-R large, the mean of layer 14
    (``hidden_states[14]`` of 24); both count ``<s>`` and ``</s>``.

    Attributes:
        direction: ``en-xx`` has English queries and a foreign index, as XTREME's script does.
    """

    config: str = "tatoeba"
    split: str = "validation"
    direction: str = "en-xx"

    name: ClassVar[str] = "tatoeba"
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
        kept = ("family",) if source.kind == "sample" else ()
        # The hub's copy keeps the line feed of every sentence.
        return [
            {name: row[name].rstrip("\n") for name in columns} | {name: row[name] for name in kept}
            for row in rows
        ]

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """For each query the number of the sentence it found.

        With families the numbers of two: beside those that are no near-duplicates, and of all.
        """
        foreign = [row["source_sentence"] for row in examples]
        english = [row["target_sentence"] for row in examples]
        texts = foreign + english
        embedded = session.rows(
            len(texts), lambda t, a, b: self.encode(t, texts[a:b]), progress=progress
        )
        index, queries = embedded[: len(foreign)], embedded[len(foreign) :]
        if self.direction == "xx-en":
            index, queries = queries, index
        found: list[int] = nearest(queries, index).tolist()
        if not _in_families(examples):
            return found
        families = np.array([row["family"] for row in examples])
        return list(zip(nearest(queries, index, families).tolist(), found, strict=True))

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        if _in_families(examples):
            answers = [apart for apart, _ in answers]
        return _right(answers)

    def parts(self, examples: Examples, answers: Sequence[Any]) -> dict[str, Scored]:
        """The stress: all sentences, near-duplicates among them."""
        if not _in_families(examples):
            return {}
        return {"near_duplicates": _right([found for _, found in answers])}

    def agree(self, one: Any, other: Any) -> bool:
        """As the score counts it."""
        return bool(one[0] == other[0] if isinstance(one, tuple) else one == other)

    def text(self, example: Mapping[str, Any]) -> str:
        return str(example["source_sentence"])

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        """XTREME asks with the English sentences in alphabetical order."""
        if self.direction != "en-xx":
            raise InputError("XTREME's direction is en-xx.", hint="Leave --direction out.")
        if _in_families(examples):
            answers = [found for _, found in answers]
        order = sorted(range(len(examples)), key=lambda i: str(examples[i]["target_sentence"]))
        return "".join(f"{answers[i]}\n" for i in order)


def nearest(
    queries: NDArray[np.float32],
    index: NDArray[np.float32],
    families: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """``[n]``: for each row of ``queries`` the row of ``index`` of the highest cosine.

    Args:
        queries: ``[n, width]``.
        index: ``[n, width]``, each row the translation of its query.
        families: ``[n]``; a query then finds no other sentence of its own family.
    """
    a = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    b = index / np.linalg.norm(index, axis=1, keepdims=True)
    cosines = a @ b.T
    if families is not None:
        near = families[:, None] == families[None, :]
        cosines[near & ~np.eye(len(families), dtype=bool)] = -np.inf
    found: NDArray[np.intp] = cosines.argmax(axis=1)
    return found


def _in_families(examples: Examples) -> bool:
    return "family" in examples[0]


def _right(found: Sequence[int]) -> Scored:
    return accuracy(np.asarray(found) == np.arange(len(found)))
