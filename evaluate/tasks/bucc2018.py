"""BUCC 2018 (Zweigenbaum et al.): find the translations hidden in two corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import fingerprint
from xopt.evaluate.data import Source
from xopt.evaluate.metrics.chunks import f1_of_counts
from xopt.evaluate.metrics.mining import Mined, best_threshold, mine
from xopt.evaluate.statistics import Scored
from xopt.evaluate.tasks.base import Examples, Progress, Task
from xopt.evaluate.tasks.corpora import (
    PARTS,
    Corpora,
    Mining,
    Pair,
    corpus_config,
    ids_by_text,
    read_corpora,
)
from xopt.evaluate.tasks.gold_pairs import BuccGoldPairs
from xopt.evaluate.tasks.retrieval import Retrieval
from xopt.model.session import Session

__all__ = ["Bucc2018"]


@dataclass(frozen=True)
class Bucc2018(Retrieval):
    """Mined by margin; a pair counts from the threshold on that is best on dev.

    With ``split="validation"`` dev is scored at its own best threshold, as XTREME scores dev.

    A source holds each corpus as ``bucc18_corpus.XX-en.PART``, one file a side (columns ``id`` and
    ``text``), and the gold pairs as the hub does. The hub itself holds the gold pairs alone.

    The encoder's last layer is embedded by its mean, unless the bundle was built with another
    ``--layer`` or ``--pooling``. XTREME's script takes layer 20 (``hidden_states[20]`` of 24) of
    XLM-R large and 8 of mBERT, by ``cls``; before October 2021 it took the mean all the same.

    Attributes:
        neighbours: k of the ratio margin.
    """

    config: str = "bucc18"
    neighbours: int = 4

    name: ClassVar[str] = "bucc2018"
    metric: ClassVar[str] = "F1"
    languages: ClassVar[tuple[str, ...]] = ("de", "fr", "ru", "zh")

    def on(self, source: Source) -> Task:
        return (
            self
            if self.available(source)
            else BuccGoldPairs(self.config, self.split, prefix=self.prefix)
        )

    def available(self, source: Source) -> list[str]:
        if self.split not in PARTS or source.folder is None:
            return []
        part = PARTS[self.split]
        return [code for code in super().available(source) if corpus_config(source, code, part)]

    def load(self, source: Source, language: str) -> Examples:
        pairs = self.config_of(language)
        scored = read_corpora(source, language, pairs, self.split)
        if self.split == "validation":
            return Mining(scored, scored)
        return Mining(scored, read_corpora(source, language, pairs, "validation"))

    def fingerprint(self, examples: Examples) -> str:
        assert isinstance(examples, Mining)
        parts = [examples.scored, examples.tuned]
        return fingerprint([[dict(p.foreign), dict(p.english), sorted(p.gold)] for p in parts])

    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """For each foreign sentence the id of the English one it was paired with, or None."""
        assert isinstance(examples, Mining)
        both = examples.scored is not examples.tuned
        share = 0.5 if both else 1.0
        pairs, scores = self._mine(session, examples.tuned, lambda done: progress(done * share))
        threshold = best_threshold(pairs, scores, examples.tuned.gold)
        if both:
            pairs, scores = self._mine(
                session, examples.scored, lambda done: progress(share + done * share)
            )
        found = {a: b for (a, b), score in zip(pairs, scores, strict=True) if score >= threshold}
        return [found.get(row["id"]) for row in examples]

    def _mine(
        self, session: Session, corpora: Corpora, progress: Progress
    ) -> tuple[list[Pair], NDArray[np.float64]]:
        ids = [ids_by_text(side) for side in (corpora.foreign, corpora.english)]
        texts = [*ids[0], *ids[1]]
        embedded = session.rows(
            len(texts), lambda t, a, b: self.encode(t, texts[a:b]), progress=progress
        )
        embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
        mined: Mined = mine(embedded[: len(ids[0])], embedded[len(ids[0]) :], k=self.neighbours)
        left, right = list(ids[0].values()), list(ids[1].values())
        pairs = [(left[a], right[b]) for a, b in zip(mined.left, mined.right, strict=True)]
        # XTREME leaves out a pair one of whose texts stands under several ids.
        kept = [i for i, (a, b) in enumerate(pairs) if a is not None and b is not None]
        chosen = [(str(pairs[i][0]), str(pairs[i][1])) for i in kept]
        return chosen, mined.score[kept]

    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        assert isinstance(examples, Mining)
        counts = [
            [a in row["gold"] for row, a in zip(examples, answers, strict=True)],
            [a is not None for a in answers],
            [len(row["gold"]) for row in examples],
        ]
        return Scored(np.array(counts, np.float64).T, f1_of_counts)

    def text(self, example: Mapping[str, Any]) -> str:
        return str(example["text"])

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        pairs = zip((row["id"] for row in examples), answers, strict=True)
        return "".join(f"{a}\t{b}\n" for a, b in pairs if b is not None)
