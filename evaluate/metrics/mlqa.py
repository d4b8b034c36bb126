"""How MLQA (Lewis et al., 2020) normalises answers before they are compared, by language."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from functools import cache

__all__ = ["LANGUAGES", "normalise"]

# Language -> what counts as an article there and is replaced by a space.
_ARTICLES = {
    "en": r"\b(?:a|an|the)\b",
    "es": r"\b(?:un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "vi": r"\b(?:của|là|cái|chiếc|những)\b",
    # The definite article is cut wherever its two letters stand, not only where a word begins.
    "ar": "ال",
    "hi": "",
    "zh": "",
}
LANGUAGES = tuple(_ARTICLES)

_HAN = re.compile("([\u4e00-\u9fa5])")


@cache
def _punctuation() -> dict[int, None]:
    codes = {c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "P"}
    return dict.fromkeys(codes | set(map(ord, string.punctuation)))


def normalise(text: str, language: str) -> str:
    """Lower case, no punctuation of any script, no article; every Chinese character a word.

    A language outside of MLQA's seven (our sample has some) has no articles.
    """
    bare = text.lower().translate(_punctuation())
    articles = _ARTICLES.get(language, "")
    if articles:
        bare = re.sub(articles, " ", bare)
    if language == "zh":
        bare = _HAN.sub(r" \1 ", bare)
    return " ".join(bare.split())
