"""NFC, and where every character of the composed text stood in the text that was given.

The `tokenizers` library has an NFC step too, but its offsets of a composed character end behind the
first of the characters that it was composed of.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Composed", "compose"]

# Vowels and final consonants of Hangul, and the vowel signs of Kirat Rai: letters that compose with
# the letter before them. Everything else that does is a mark.
JOINING = (("\u1161", "\u11c2"), ("\U00016d63", "\U00016d6a"))


@dataclass(frozen=True)
class Composed:
    """A text in NFC.

    Attributes:
        text: n characters.
        starts: ``[n + 1]`` int32, where the first of a character's characters stood; the last entry
            is the length of the given text.
        stops: ``[n + 1]`` int32, the place behind the last of them.
    """

    text: str
    starts: NDArray[np.int32]
    stops: NDArray[np.int32]

    def given(self, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
        """``[m, 2]`` offsets into :attr:`text` as offsets into the text that was given."""
        found = self.starts[offsets]
        covers = offsets[:, 1] > offsets[:, 0]
        found[covers, 1] = self.stops[offsets[covers, 1] - 1]
        return found


def compose(text: str) -> Composed | None:
    """``text`` in NFC; None where it is already."""
    if unicodedata.is_normalized("NFC", text):
        return None
    pieces: list[str] = []
    starts: list[int] = []
    stops: list[int] = []
    begin = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _joins(text[end]):
            continue
        piece = text[begin:end]
        made = unicodedata.normalize("NFC", piece)
        pieces.append(made)
        # What stands before and behind the part that changed keeps its place.
        same = _common(piece, made)
        tail = _common(piece[same:][::-1], made[same:][::-1])
        changed = len(made) - same - tail
        starts += [*range(begin, begin + same), *[begin + same] * changed, *range(end - tail, end)]
        stops += range(begin + 1, begin + same + 1)
        stops += [*[end - tail] * changed, *range(end - tail + 1, end + 1)]
        begin = end
    starts.append(len(text))
    stops.append(len(text))
    return Composed("".join(pieces), np.array(starts, np.int32), np.array(stops, np.int32))


def _common(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )


def _joins(character: str) -> bool:
    """Whether a character may compose with, or be ordered among, those before it."""
    if character < "\u0300":
        return False
    return unicodedata.category(character)[0] == "M" or any(
        first <= character <= last for first, last in JOINING
    )
