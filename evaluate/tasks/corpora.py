"""BUCC's corpora: both whole sides of a language pair, and the pairs that are translations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row, Source
from xopt.forms import spelled

__all__ = ["PARTS", "Corpora", "Mining", "Pair", "corpus_config", "ids_by_text", "read_corpora"]

Pair = tuple[str, str]
# The hub's splits, and what BUCC calls them.
PARTS = {"validation": "dev", "test": "test"}


@dataclass(frozen=True)
class Corpora:
    """Both sides of one part, id -> text, and the true pairs."""

    foreign: Mapping[str, str]
    english: Mapping[str, str]
    gold: set[Pair]


class Mining(list[Mapping[str, Any]]):
    """The foreign sentences as examples, each with all of its translations, and their corpora."""

    def __init__(self, scored: Corpora, tuned: Corpora) -> None:
        pairs = defaultdict[str, list[str]](list)
        for foreign, english in sorted(scored.gold):
            pairs[foreign].append(english)
        super().__init__(
            {"id": number, "text": text, "gold": pairs.get(number, [])}
            for number, text in scored.foreign.items()
        )
        self.scored, self.tuned = scored, tuned


def corpus_config(source: Source, language: str, part: str) -> str | None:
    """The config of a corpus, at the top of the folder or under ``extra``; None if not there."""
    name = f"bucc18_corpus.{language}-en.{part}"
    return next((p for p in (name, f"extra/{name}") if source.has(p, "en")), None)


def read_corpora(source: Source, language: str, pairs: str, split: str) -> Corpora:
    """Both sides and the gold pairs of one part.

    Args:
        source: which holds each side as ``id`` and ``text``.
        language: of the foreign side.
        pairs: config of the gold pairs.
        split: as the hub calls it.

    Raises:
        InputError: this part is not there.
        DataError: a side has an id twice, or a gold pair names a sentence that is not there.
    """
    place = corpus_config(source, language, PARTS[split])
    if place is None:
        raise InputError(
            f"{source.label} has no bucc18_corpus.{language}-en.{PARTS[split]}.",
            hint="Score the part that is there with --split validation.",
        )
    sides = [_side(source, place, side) for side in (language, "en")]
    columns = {"source_lang": str, "target_lang": str}
    gold: Sequence[Row] = source.rows(pairs, split, columns)
    found = {(row["source_lang"], row["target_lang"]): number for number, row in enumerate(gold, 1)}
    for pair, number in found.items():
        for name, side, texts in zip(pair, (language, "en"), sides, strict=True):
            if name not in texts:
                raise DataError(
                    f"{pairs}/{split}, row {number}: {place}, {side} holds no sentence "
                    f"{spelled(name)}.",
                    hint="Take gold pairs and corpora of one part, whole: what a corpus lacks "
                    "cannot be found, and the score would not say so.",
                )
    return Corpora(sides[0], sides[1], set(found))


def _side(source: Source, place: str, side: str) -> dict[str, str]:
    """id -> text.

    Raises:
        DataError: an id stands twice.
    """
    found: dict[str, str] = {}
    for number, row in enumerate(source.rows(place, side, {"id": str, "text": str}), 1):
        if row["id"] in found:
            raise DataError(
                f"{place}, {side}, row {number}: the id {spelled(row['id'])} stands there twice.",
                hint="Give every sentence an id of its own; the gold pairs name sentences by id.",
            )
        found[row["id"]] = row["text"]
    return found


def ids_by_text(side: Mapping[str, str]) -> dict[str, str | None]:
    """Text -> its id; None where several ids share it."""
    times = Counter(side.values())
    return {text: number if times[text] == 1 else None for number, text in side.items()}
