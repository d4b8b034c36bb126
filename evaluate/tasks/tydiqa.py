"""TyDiQA-GoldP (Clark et al., 2020): questions by people who did not know the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.data import Row, Source
from xopt.evaluate.tasks.base import Examples, rows_in
from xopt.evaluate.tasks.span import COLUMNS, SpanAnswers
from xopt.forms import spelled
from xopt.languages import NAMES

__all__ = ["TyDiQa"]

# What an id begins with, to the code.
CODES = {name.lower(): code for code, name in NAMES.items()}


@dataclass(frozen=True)
class TyDiQa(SpanAnswers):
    """One config holds all languages; an id begins with the name of its own.

    A folder may also hold a config for each language, ``tydiqa.en`` and so on.
    """

    config: str = "tydiqa"
    split: str = "validation"

    name: ClassVar[str] = "tydiqa"
    languages: ClassVar[tuple[str, ...]] = ("en", "ar", "bn", "fi", "id", "ko", "ru", "sw", "te")

    def probe(self) -> tuple[str, str]:
        return self.config, self.split

    def available(self, source: Source) -> list[str]:
        if not source.has(self.config, self.split):
            return super().available(source)
        held = {_language(row) for row in source.rows(self.config, self.split, COLUMNS)}
        return [code for name, code in CODES.items() if name in held]

    def load(self, source: Source, language: str) -> Examples:
        if not source.has(self.config, self.split):
            return super().load(source, language)
        rows = source.rows(self.config, self.split, COLUMNS)
        where = f"{self.config}/{self.split}"
        hint = (
            "Write it as in english-1, so that no row is left out of a score, or give each "
            f"language a folder of its own, such as {self.config}.en."
        )
        chosen = rows_in(language, rows, _code, where, hint)
        return self.checked(chosen, language, where, stripped=source.kind == "hub")


def _language(row: Row) -> str:
    return str(row["id"]).partition("-")[0].lower()


def _code(row: Row) -> str:
    code = CODES.get(_language(row))
    if code is None:
        raise ValueError(f"the id {spelled(row['id'])} begins with no language")
    return code
