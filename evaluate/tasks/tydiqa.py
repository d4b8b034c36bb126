"""TyDiQA-GoldP (Clark et al., 2020): questions by people who did not know the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row, Source
from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.span import COLUMNS, SpanAnswers
from xopt.forms import spelled
from xopt.languages import NAMES

__all__ = ["TyDiQa"]


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
        return [code for code in NAMES if NAMES[code].lower() in held]

    def load(self, source: Source, language: str) -> Examples:
        if not source.has(self.config, self.split):
            return super().load(source, language)
        rows = source.rows(self.config, self.split, COLUMNS)
        name = NAMES[language].lower()
        where = f"{self.config}/{self.split}"
        known = {other.lower() for other in NAMES.values()}
        chosen = []
        for number, row in enumerate(rows, 1):
            if _language(row) not in known:
                raise DataError(
                    f"{where}, row {number}: the id {spelled(row['id'])} begins with no language.",
                    hint="Write it as in english-1, so that no row is left out of a score, or give "
                    f"each language a folder of its own, such as {self.config}.en.",
                )
            if _language(row) == name:
                chosen.append((number, row))
        if not chosen:
            raise InputError(f"{where} holds no row in {language!r}.")
        return self.checked(chosen, language, where, stripped=source.kind == "hub")


def _language(row: Row) -> str:
    return str(row["id"]).partition("-")[0].lower()
