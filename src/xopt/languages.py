"""The languages xopt knows by name: the forty of XTREME, in ISO 639-1 and 639-3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xopt.errors import InputError, did_you_mean

__all__ = ["ISO3", "NAMES", "check_languages", "language_name", "to_iso1"]

NAMES: dict[str, str] = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "jv": "Javanese",
    "ka": "Georgian", "kk": "Kazakh", "ko": "Korean", "ml": "Malayalam", "mr": "Marathi",
    "ms": "Malay", "my": "Burmese", "nl": "Dutch", "pt": "Portuguese", "ru": "Russian",
    "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog",
    "tr": "Turkish", "ur": "Urdu", "vi": "Vietnamese", "yo": "Yoruba", "zh": "Chinese",
}  # fmt: skip

ISO3: dict[str, str] = {
    "afr": "af", "ara": "ar", "bul": "bg", "ben": "bn", "deu": "de", "ell": "el", "eng": "en",
    "spa": "es", "est": "et", "eus": "eu", "pes": "fa", "fin": "fi", "fra": "fr", "heb": "he",
    "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja", "jav": "jv", "kat": "ka",
    "kaz": "kk", "kor": "ko", "mal": "ml", "mar": "mr", "zsm": "ms", "mya": "my", "nld": "nl",
    "por": "pt", "rus": "ru", "swh": "sw", "tam": "ta", "tel": "te", "tha": "th", "tgl": "tl",
    "tur": "tr", "urd": "ur", "vie": "vi", "yor": "yo", "cmn": "zh",
}  # fmt: skip


def to_iso1(code: str) -> str:
    """The two-letter code of ``code`` where there is one, else ``code`` itself."""
    return ISO3.get(code, code)


def language_name(code: str) -> str:
    """``Swahili`` for ``sw`` and ``swh``; an unknown code stands for itself."""
    return NAMES.get(to_iso1(code), code)


def check_languages(asked: Sequence[str], possible: Iterable[str], *, where: str) -> list[str]:
    """The asked codes as ``possible`` spells them, in the order asked; two or three letters.

    Raises:
        InputError: a code that ``possible`` does not hold.
    """
    known = list(possible)
    by_iso1 = {to_iso1(code): code for code in known}
    found: list[str] = []
    for code in asked:
        name = code.strip()
        match = name if name in known else by_iso1.get(to_iso1(name))
        if match is None:
            raise InputError(
                f"Unknown language {name!r} for {where}.",
                hint=did_you_mean(name, known),
            )
        if match not in found:
            found.append(match)
    return found
