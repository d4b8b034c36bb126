"""What stands for a piece that is not kept: the kept pieces that its characters are cut into.

The cheapest cut, as Unigram makes it of a text (Kudo, 2018); in a vocabulary without scores the cut
of fewest pieces. What no kept piece covers are its bytes, where the vocabulary has bytes, else the
unknown token.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xopt.compile.vocabulary import BYTE, Vocabulary
from xopt.kept_pieces import KeptPieces

__all__ = ["cut_pieces"]

# More than any cut of kept pieces costs.
UNCOVERED = 1e6


def cut_pieces(vocabulary: Vocabulary, kept: NDArray[np.bool_]) -> KeptPieces:
    """For each id the kept ids that stand for it.

    Args:
        vocabulary: of the checkpoint.
        kept: ``[vocabulary]``, which have a row.
    """
    cut = _Cut(vocabulary, kept)
    return KeptPieces.of(
        [[number] if kept[number] else cut(piece) for number, piece in enumerate(vocabulary.pieces)]
    )


class _Cut:
    def __init__(self, vocabulary: Vocabulary, kept: NDArray[np.bool_]) -> None:
        self.prefix = vocabulary.prefix if vocabulary.kind == "WordPiece" else ""
        self.costs = vocabulary.costs
        self.names = {
            piece: number
            for number, piece in enumerate(vocabulary.pieces)
            if kept[number] and piece and number not in vocabulary.special
        }
        self.longest = max(map(len, self.names), default=0)
        # The first of two that are spelled alike.
        self.bytes = {
            int(found[1], 16): number
            for number in sorted(vocabulary.special, reverse=True)
            if (found := BYTE.fullmatch(vocabulary.pieces[number]))
        }
        # A vocabulary without an unknown token has its first row in place of what is not there.
        self.unknown = vocabulary.unknown if vocabulary.unknown is not None else 0

    def __call__(self, piece: str) -> list[int]:
        """The ids; one at least."""
        goes_on = bool(self.prefix) and piece.startswith(self.prefix)
        text = piece.removeprefix(self.prefix) if goes_on else piece
        best: list[tuple[float, list[int]]] = [(0.0, [])]
        for stop in range(1, len(text) + 1):
            rest, ids = best[stop - 1]
            found = (rest + UNCOVERED, ids + self._uncovered(text[stop - 1]))
            for start in range(max(0, stop - self.longest), stop):
                name = text[start:stop]
                number = self.names.get(self.prefix + name if start or goes_on else name)
                if number is None:
                    continue
                rest, ids = best[start]
                cost = rest + float(self.costs[number])
                if cost < found[0]:
                    found = (cost, [*ids, number])
            best.append(found)
        # One unknown token stands for all that is unknown, as in the tokenizer.
        ids = best[-1][1]
        return [n for i, n in enumerate(ids) if n != self.unknown or i == 0 or ids[i - 1] != n] or [
            self.unknown
        ]

    def _uncovered(self, character: str) -> list[int]:
        data = character.encode("utf-8", errors="replace")
        if data and all(byte in self.bytes for byte in data):
            return [self.bytes[byte] for byte in data]
        return [self.unknown]
