"""XNLI (Conneau et al., 2018): does a sentence follow from another?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Source
from xopt.evaluate.tasks.base import Examples
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
        chosen = []
        for number, row in enumerate(rows, 1):
            if parse_code(row["language"]) is None:
                raise DataError(
                    f"{where}, row {number}: the language {spelled(row['language'])} is not known.",
                    hint="Write a code such as de, so that no row is left out of a score.",
                )
            if to_iso1(row["language"]) == language:
                chosen.append((number, row))
        if not chosen:
            raise InputError(f"{where} holds no row in {language!r}.")
        return self.checked(chosen, "gold_label", where)
