"""Which scripts a language is written in, and of which scripts a piece of a vocabulary is.

Scripts are those of Unicode's property Script (UAX 24), read by the library `regex`. What belongs
to none of them, digits, punctuation, symbols and marks, is Common or Inherited there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xopt.errors import InputError, require
from xopt.languages import check_languages

__all__ = ["LATIN", "SCRIPTS", "is_character", "read_languages", "written_in"]

LATIN = "Latin"
# Thousands of characters each: they are kept where a language is asked that writes them.
LARGE = ("Han", "Hangul")

# The languages of XLM-R, ISO 639-1, by what they are written in.
_WRITTEN = {
    "Latin": "af az br bs ca cs cy da de en eo es et eu fi fr fy ga gd gl ha hr hu id is it jv ku "
    "la lt lv mg ms nl no om pl pt ro sk sl so sq su sv sw tl tr uz vi xh yo",
    "Arabic": "ar fa ps sd ug ur",
    "Cyrillic": "be bg kk ky mk mn ru uk",
    "Cyrillic Latin": "sr",
    "Devanagari": "hi mr ne sa",
    "Bengali": "as bn",
    "Hebrew": "he yi",
    "Han": "zh",
    "Han Hiragana Katakana": "ja",
    "Hangul Han": "ko",
    "Greek": "el",
    "Armenian": "hy",
    "Ethiopic": "am",
    "Georgian": "ka",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Kannada": "kn",
    "Khmer": "km",
    "Lao": "lo",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Oriya": "or",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
}
SCRIPTS = {
    language: tuple(scripts.split())
    for scripts, languages in _WRITTEN.items()
    for language in languages.split()
}


def read_languages(asked: str) -> list[str]:
    """The codes of ``de,sw``, each once.

    Raises:
        InputError: none is given, or one is not known.
    """
    codes = [code.strip() for code in asked.split(",") if code.strip()]
    if not codes:
        raise InputError(
            "--languages names no language.", hint="Give codes with commas between: de,sw,ar."
        )
    return check_languages(codes, sorted(SCRIPTS), where="--languages")


def written_in(scripts: Iterable[str]) -> Callable[[str], bool]:
    """Whether each character of a piece is of one of these scripts, or of none at all."""
    regex = require("regex", extra="build", why="xopt build --languages")
    sets = "".join(rf"\p{{Script={name}}}" for name in ("Common", "Inherited", *scripts))
    whole = regex.compile(f"[{sets}]*")
    return lambda piece: whole.fullmatch(piece) is not None


def is_character(scripts: Iterable[str]) -> Callable[[str], bool]:
    """Whether a piece is one character that any text may hold.

    That is one of an alphabet, whosever it is: a name or a quotation then has no unknown token.
    Those of Han and Hangul belong to it only if they are among ``scripts``.
    """
    regex = require("regex", extra="build", why="xopt build --languages")
    left_out = "".join(rf"\p{{Script={name}}}" for name in LARGE if name not in tuple(scripts))
    one = regex.compile(rf"[^{left_out}]" if left_out else ".", regex.DOTALL)
    return lambda piece: one.fullmatch(piece) is not None
