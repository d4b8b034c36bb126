"""``xopt build --languages``: which pieces of a vocabulary are kept.

Always: special tokens, bytes, single characters, what is no letter, and prompts. Then the pieces
that the tokenizer finds in the corpus, which are counted. Then those that are written in the
languages' scripts alone, in the vocabulary's own order, which is that of their frequency in
training (Kudo, 2018; Sennrich et al., 2016), the scripts taking turns. Counting alone would leave
out 5 to 10 % of the tokens of new texts; and a piece is never kept for a language that does not
write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.compile.scripts import LATIN, is_character, scripts_for, written_in
from xopt.errors import UnsupportedError

__all__ = ["BYTE", "Vocabulary", "choose_pieces"]

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a ``tokenizer.json``.

    Attributes:
        kind: ``Unigram``, ``WordPiece`` or ``BPE``.
        pieces: id -> how the file spells it; an id without a piece is an empty text.
        costs: id -> what it costs to use the piece: Unigram's negative score, else 1.
        special: ids of added tokens, bytes and the unknown token.
        unknown: id of the unknown token, if there is one.
        prefix: WordPiece's sign of a piece that goes on.
        byte_level: whether a character of a piece stands for a byte.
    """

    kind: str
    pieces: tuple[str, ...]
    costs: NDArray[np.float64]
    special: frozenset[int]
    unknown: int | None
    prefix: str
    byte_level: bool

    @classmethod
    def read(cls, path: Path, rows: int) -> Vocabulary:
        """From the file.

        Args:
            path: of ``tokenizer.json``.
            rows: of the word embeddings, which may be more than there are pieces.

        Raises:
            UnsupportedError: a tokenizer of another kind.
        """
        facts: dict[str, Any] = json.loads(path.read_bytes())
        model = facts["model"]
        kind = str(model.get("type"))
        if kind not in ("Unigram", "WordPiece", "BPE"):
            raise UnsupportedError(
                f"--languages needs a tokenizer of Unigram, WordPiece or BPE; this one is {kind}.",
                hint="Leave --languages out.",
            )
        unigram = kind == "Unigram"
        table: list[tuple[str, float]] = (
            [(piece, -score) for piece, score in model["vocab"]] if unigram
            else [(piece, 1.0) for piece in _by_id(model["vocab"])]
        )  # fmt: skip
        added = facts.get("added_tokens") or []
        size = max(rows, len(table), *(token["id"] + 1 for token in added), 0)
        pieces = [piece for piece, _ in table] + [""] * (size - len(table))
        costs = np.ones(size)
        costs[: len(table)] = [cost for _, cost in table]
        for token in added:
            pieces[token["id"]] = token["content"]
        unknown = model.get("unk_id") if unigram else _find(pieces, model.get("unk_token"))
        special = {int(token["id"]) for token in added}
        if unknown is not None:
            special.add(unknown)
        special |= {number for number, piece in enumerate(pieces) if BYTE.fullmatch(piece)}
        prefix = model.get("continuing_subword_prefix") or ""
        byte_level = any(_is_byte_level(facts.get(part)) for part in ("pre_tokenizer", "decoder"))
        return cls(
            kind, tuple(pieces), costs, frozenset(special), unknown, prefix,
            byte_level and kind == "BPE",
        )  # fmt: skip

    @cached_property
    def order(self) -> list[int]:
        """The ids that have a piece, what was most frequent in training first."""
        return [int(n) for n in np.argsort(self.costs, kind="stable") if self.pieces[n]]

    @cached_property
    def written(self) -> tuple[str, ...]:
        """The characters of each piece, without the signs of a space and of going on."""
        found = []
        for piece in self.pieces:
            bare = piece.removeprefix(self.prefix) if self.prefix else piece
            found.append(_characters(bare).strip() if self.byte_level else bare.strip(SPACE))
        return tuple(found)


def choose_pieces(
    vocabulary: Vocabulary, languages: Sequence[str], counted: Collection[int], most: int
) -> NDArray[np.bool_]:
    """``[vocabulary]``: which pieces are kept.

    Args:
        vocabulary: of the checkpoint.
        languages: as :func:`~xopt.compile.scripts.read_languages` gives them.
        counted: ids that the tokenizer gave texts of these languages.
        most: how many are kept, if there are not more that always are; 0 for no limit.
    """
    scripts = dict.fromkeys(script for code in languages for script in scripts_for(code))
    single, common = is_character(scripts), written_in(())
    kept = np.zeros(len(vocabulary.pieces), bool)
    # A row without a piece is never asked for.
    for number in vocabulary.order:
        piece = vocabulary.written[number]
        kept[number] = single(piece) or common(piece)
    kept[sorted(vocabulary.special | set(counted))] = True
    room = (most or len(kept)) - int(kept.sum())
    for number in _by_turns(vocabulary, languages, kept):
        if room <= 0:
            break
        kept[number] = True
        room -= 1
    return kept


def _by_turns(
    vocabulary: Vocabulary, languages: Sequence[str], kept: NDArray[np.bool_]
) -> Iterator[int]:
    """The ids that are not kept, each language naming its next one in turn.

    Where none is written in Latin, that takes turns as one more language would until the others
    have named all of theirs: names and terms are written in it everywhere.
    """
    asked = [scripts_for(code) for code in languages]
    turns = asked if any(LATIN in scripts for scripts in asked) else [*asked, (LATIN,)]
    groups = {scripts: _named(vocabulary, scripts, kept) for scripts in turns}
    taken = kept.copy()
    while not groups.keys().isdisjoint(asked):
        for scripts in turns:
            if scripts not in groups:
                continue
            number = next((n for n in groups[scripts] if not taken[n]), None)
            if number is None:
                del groups[scripts]
                continue
            taken[number] = True
            yield number


def _named(
    vocabulary: Vocabulary, scripts: Sequence[str], kept: NDArray[np.bool_]
) -> Iterator[int]:
    fits, written = written_in(scripts), vocabulary.written
    return (n for n in vocabulary.order if not kept[n] and fits(written[n]))


def _by_id(vocabulary: dict[str, int]) -> list[str]:
    found = [""] * (max(vocabulary.values(), default=-1) + 1)
    for piece, number in vocabulary.items():
        found[number] = piece
    return found


def _find(pieces: Sequence[str], token: Any) -> int | None:
    return pieces.index(token) if token in pieces else None


def _is_byte_level(part: Any) -> bool:
    if isinstance(part, dict):
        return part.get("type") == "ByteLevel" or any(map(_is_byte_level, part.values()))
    return isinstance(part, list) and any(map(_is_byte_level, part))


def _bytes_of() -> dict[str, int]:
    """The character that stands for each byte (GPT-2's table) -> the byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_BYTES = _bytes_of()


def _characters(piece: str) -> str:
    """What a piece of bytes spells; a part of a character is U+FFFD, which is no letter."""
    data = bytes(_BYTES[character] for character in piece if character in _BYTES)
    return data.decode("utf-8", errors="replace")
