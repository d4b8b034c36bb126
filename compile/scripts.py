"""Which scripts a language is written in, and of which scripts a piece of a vocabulary is.

Scripts are those of Unicode's property Script (UAX 24), read by the library `regex`. What belongs
to none of them, digits, punctuation, symbols and marks, is Common or Inherited there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xopt.errors import InputError, require
from xopt.languages import check_languages, parse_code

__all__ = ["LATIN", "SCRIPTS", "is_character", "read_languages", "scripts_for", "written_in"]

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
# ISO 15924 -> the property's values, where a code says a script itself.
_TAGGED = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic",
    "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek",
    "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hang": "Hangul", "Hani": "Han", "Hans": "Han",
    "Hant": "Han", "Hebr": "Hebrew", "Jpan": "Han Hiragana Katakana", "Khmr": "Khmer",
    "Knda": "Kannada", "Kore": "Hangul Han", "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam",
    "Mymr": "Myanmar", "Orya": "Oriya", "Sinh": "Sinhala", "Taml": "Tamil", "Telu": "Telugu",
    "Thai": "Thai",
}  # fmt: skip


def scripts_for(code: str) -> tuple[str, ...]:
    """What a language is written in; of ``sr-Latn``, what its code says.

    Args:
        code: as :func:`read_languages` gives it.
    """
    language, _, script = code.partition("-")
    return tuple(_TAGGED[script].split()) if script else SCRIPTS[language]


def read_languages(asked: str) -> list[str]:
    """The codes of ``de,sw,sr-Latn``, each once; the script stays where it is not the usual one.

    Raises:
        InputError: none is given, or one is not known.
    """
    codes = [code.strip() for code in asked.split(",") if code.strip()]
    if not codes:
        raise InputError(
            "--languages names no language.", hint="Give codes with commas between: de,sw,ar."
        )
    return list(dict.fromkeys(map(_read_code, codes)))


def _read_code(code: str) -> str:
    language, script = parse_code(code) or (code, "")
    [known] = check_languages([language], sorted(SCRIPTS), where="--languages")
    usual = not script or scripts_for(f"{known}-{script}") == SCRIPTS[known]
    return known if usual else f"{known}-{script}"


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
