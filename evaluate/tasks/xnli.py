"""XNLI (Conneau et al., 2018): does a sentence follow from another?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from xopt.evaluate.data import Row, Source
from xopt.evaluate.tasks.base import Examples, rows_in
from xopt.evaluate.tasks.classification import PairClassification
from xopt.forms import spelled
from xopt.languages import NAMES, parse_code, to_iso1

__all__ = ["Xnli"]

COLUMNS = {"language": str, "sentence1": str, "sentence2": str, "gold_label": str}


@dataclass(frozen=True)
class Xnli(PairClassification):
    """One config holds all languages; a column says which."""

    config: str = "XNLI"

    name: ClassVar[str] = "xnli"
    gold: ClassVar[str] = "gold_label"
    classes: ClassVar[tuple[str, ...]] = ("contradiction", "entailment", "neutral")
    languages: ClassVar[tuple[str, ...]] = (
        "ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh",
    )  # fmt: skip

    def config_of(self, language: str) -> str:
        return self.config

    def available(self, source: Source) -> list[str]:
        if not source.has(self.config, self.split):
            return []
        held = {to_iso1(row["language"]) for row in source.rows(self.config, self.split, COLUMNS)}
        return [code for code in NAMES if code in held]

    def load(self, source: Source, language: str) -> Examples:
        rows = source.rows(self.config, self.split, COLUMNS)
        where = f"{self.config}/{self.split}"
        hint = "Write a code such as de, so that no row is left out of a score."
        chosen = rows_in(language, rows, _code, where, hint)
        return self.checked(chosen, "gold_label", where)


def _code(row: Row) -> str:
    return _known(row["language"])


@cache
def _known(code: str) -> str:
    if parse_code(code) is None:
        raise ValueError(f"the language {spelled(code)} is not known")
    return to_iso1(code)
