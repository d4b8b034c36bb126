"""Script and family of a language, to group the rows of a table by."""

from __future__ import annotations

from xopt.languages import to_iso1

__all__ = ["OTHER", "script_and_family"]

OTHER = ("other", "other")

# Script and family (branch) as Glottolog and ISO 15924 name them.
KNOWN: dict[str, tuple[str, str]] = {
    "af": ("Latin", "Germanic"), "da": ("Latin", "Germanic"), "de": ("Latin", "Germanic"),
    "en": ("Latin", "Germanic"), "nl": ("Latin", "Germanic"), "sv": ("Latin", "Germanic"),
    "ca": ("Latin", "Romance"), "es": ("Latin", "Romance"), "fr": ("Latin", "Romance"),
    "it": ("Latin", "Romance"), "pt": ("Latin", "Romance"), "ro": ("Latin", "Romance"),
    "cs": ("Latin", "Slavic"), "pl": ("Latin", "Slavic"), "sk": ("Latin", "Slavic"),
    "lt": ("Latin", "Baltic"), "lv": ("Latin", "Baltic"),
    "et": ("Latin", "Uralic"), "fi": ("Latin", "Uralic"), "hu": ("Latin", "Uralic"),
    "tr": ("Latin", "Turkic"), "az": ("Latin", "Turkic"), "eu": ("Latin", "Basque"),
    "id": ("Latin", "Austronesian"), "jv": ("Latin", "Austronesian"),
    "ms": ("Latin", "Austronesian"), "tl": ("Latin", "Austronesian"),
    "sw": ("Latin", "Atlantic-Congo"), "yo": ("Latin", "Atlantic-Congo"),
    "qu": ("Latin", "Quechuan"), "ht": ("Latin", "Creole"), "vi": ("Latin", "Austroasiatic"),
    "bg": ("Cyrillic", "Slavic"), "ru": ("Cyrillic", "Slavic"), "uk": ("Cyrillic", "Slavic"),
    "sr": ("Cyrillic", "Slavic"), "kk": ("Cyrillic", "Turkic"), "mn": ("Cyrillic", "Mongolic"),
    "el": ("Greek", "Hellenic"), "hy": ("Armenian", "Armenian"), "ka": ("Georgian", "Kartvelian"),
    "ar": ("Arabic", "Semitic"), "fa": ("Arabic", "Iranian"), "ur": ("Arabic", "Indo-Aryan"),
    "he": ("Hebrew", "Semitic"), "am": ("Ethiopic", "Semitic"),
    "bn": ("Bengali", "Indo-Aryan"), "hi": ("Devanagari", "Indo-Aryan"),
    "mr": ("Devanagari", "Indo-Aryan"), "ne": ("Devanagari", "Indo-Aryan"),
    "gu": ("Gujarati", "Indo-Aryan"), "pa": ("Gurmukhi", "Indo-Aryan"),
    "ml": ("Malayalam", "Dravidian"), "ta": ("Tamil", "Dravidian"), "te": ("Telugu", "Dravidian"),
    "kn": ("Kannada", "Dravidian"),
    "my": ("Myanmar", "Sino-Tibetan"), "zh": ("Han", "Sino-Tibetan"), "th": ("Thai", "Kra-Dai"),
    "ja": ("Japanese", "Japonic"), "ko": ("Hangul", "Koreanic"),
}  # fmt: skip


def script_and_family(code: str) -> tuple[str, str]:
    """``("Latin", "Atlantic-Congo")`` for ``sw`` and ``swh``; :data:`OTHER` for an unknown code."""
    return KNOWN.get(to_iso1(code), OTHER)
