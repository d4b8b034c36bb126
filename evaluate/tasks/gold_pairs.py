"""BUCC's gold pairs without their corpora: nothing to mine, so not BUCC's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xopt.errors import InputError
from xopt.evaluate.data import Source
from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.tatoeba import Tatoeba

__all__ = ["BuccGoldPairs"]


@dataclass(frozen=True)
class BuccGoldPairs(Tatoeba):
    """Every sentence looks for its translation among those of all other gold pairs."""

    config: str = "bucc18"
    split: str = "test"
    direction: str = "xx-en"

    name: ClassVar[str] = "bucc2018-gold-pairs"
    metric: ClassVar[str] = "retrieval accuracy on gold pairs (not BUCC F1)"
    languages: ClassVar[tuple[str, ...]] = ("de", "fr", "ru", "zh")

    def probe(self) -> tuple[str, str]:
        return self.config_of("de"), self.split

    def available(self, source: Source) -> list[str]:
        return [code for code in self.languages if source.has(self.config_of(code), self.split)]

    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        raise InputError(
            "BUCC cannot be submitted from its gold pairs alone.",
            hint="Give --data DIR that also holds bucc18_corpus.XX-en.dev and .test.",
        )
