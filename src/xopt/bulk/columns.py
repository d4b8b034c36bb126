"""Which columns of a table hold the text and its pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xopt.errors import InputError, did_you_mean

__all__ = ["Columns"]

USUAL = "text"


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Attributes:
        text: of the text; ``text`` if None, or the only column there is.
        pair: of the second text; None if there is none.
    """

    text: str | None = None
    pair: str | None = None

    def check(self, ending: str, pair: str | None) -> None:
        """Refuse what a file of this kind cannot have.

        Raises:
            InputError: columns of a file of lines, or two sources of pairs.
        """
        if ending == ".txt" and (self.text or self.pair):
            raise InputError(
                "A .txt file has lines and no columns.",
                hint="Leave --column and --pair-column out, or give a .csv, .jsonl or .parquet.",
            )
        if pair is not None and self.pair is not None:
            raise InputError("Both --pair and --pair-column were given.", hint="Give one of them.")

    def find(self, names: Sequence[str], where: str) -> list[int]:
        """The places of the text and, if asked for, of its pair.

        Raises:
            InputError: there is no such column, or more than one.
        """
        text = self.text
        if text is None and USUAL not in names and len(names) == 1:
            text = names[0]
        wanted = [text or USUAL] + ([self.pair] if self.pair else [])
        for name in wanted:
            if name not in names:
                option = "--column" if name != self.pair else "--pair-column"
                raise InputError(
                    f"{where} has no column {name!r}.",
                    hint=f"{did_you_mean(name, names)} Name it with {option}."
                    if names
                    else "It has none.",
                )
            if names.count(name) > 1:
                raise InputError(
                    f"{where} has {names.count(name)} columns {name!r}.", hint="Rename all but one."
                )
        return [names.index(name) for name in wanted]
