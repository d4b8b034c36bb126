"""Script and family of a language, to group the rows of a table by."""

from __future__ import annotations

from xopt.languages import parse_code

__all__ = ["OTHER", "script_and_family"]

OTHER = ("other", "other")

# Script and family (branch) as Glottolog and ISO 15924 name them.
KNOWN: dict[str, tuple[str, str]] = {
    "fy": ("Latin", "Germanic"), "is": ("Latin", "Germanic"), "no": ("Latin", "Germanic"),
    "af": ("Latin", "Germanic"), "da": ("Latin", "Germanic"), "de": ("Latin", "Germanic"),
    "en": ("Latin", "Germanic"), "nl": ("Latin", "Germanic"), "sv": ("Latin", "Germanic"),
    "ca": ("Latin", "Romance"), "es": ("Latin", "Romance"), "fr": ("Latin", "Romance"),
    "it": ("Latin", "Romance"), "pt": ("Latin", "Romance"), "ro": ("Latin", "Romance"),
    "gl": ("Latin", "Romance"), "la": ("Latin", "Italic"), "eo": ("Latin", "Constructed"),
    "br": ("Latin", "Celtic"), "cy": ("Latin", "Celtic"), "ga": ("Latin", "Celtic"),
    "gd": ("Latin", "Celtic"), "sq": ("Latin", "Albanian"), "ku": ("Latin", "Iranian"),
    "bs": ("Latin", "Slavic"), "hr": ("Latin", "Slavic"), "sl": ("Latin", "Slavic"),
    "cs": ("Latin", "Slavic"), "pl": ("Latin", "Slavic"), "sk": ("Latin", "Slavic"),
    "lt": ("Latin", "Baltic"), "lv": ("Latin", "Baltic"),
    "et": ("Latin", "Uralic"), "fi": ("Latin", "Uralic"), "hu": ("Latin", "Uralic"),
    "tr": ("Latin", "Turkic"), "az": ("Latin", "Turkic"), "eu": ("Latin", "Basque"),
    "uz": ("Latin", "Turkic"), "ha": ("Latin", "Chadic"), "om": ("Latin", "Cushitic"),
    "so": ("Latin", "Cushitic"), "mg": ("Latin", "Austronesian"), "su": ("Latin", "Austronesian"),
    "ceb": ("Latin", "Austronesian"), "xh": ("Latin", "Atlantic-Congo"),
    "ig": ("Latin", "Atlantic-Congo"), "zu": ("Latin", "Atlantic-Congo"),
    "id": ("Latin", "Austronesian"), "jv": ("Latin", "Austronesian"),
    "ms": ("Latin", "Austronesian"), "tl": ("Latin", "Austronesian"),
    "sw": ("Latin", "Atlantic-Congo"), "yo": ("Latin", "Atlantic-Congo"),
    "qu": ("Latin", "Quechuan"), "gn": ("Latin", "Tupian"),
    "ht": ("Latin", "Creole"), "vi": ("Latin", "Austroasiatic"),
    "bg": ("Cyrillic", "Slavic"), "ru": ("Cyrillic", "Slavic"), "uk": ("Cyrillic", "Slavic"),
    "be": ("Cyrillic", "Slavic"), "mk": ("Cyrillic", "Slavic"), "ky": ("Cyrillic", "Turkic"),
    "tt": ("Cyrillic", "Turkic"), "tg": ("Cyrillic", "Iranian"),
    "sr": ("Cyrillic", "Slavic"), "kk": ("Cyrillic", "Turkic"), "mn": ("Cyrillic", "Mongolic"),
    "el": ("Greek", "Hellenic"), "hy": ("Armenian", "Armenian"), "ka": ("Georgian", "Kartvelian"),
    "ar": ("Arabic", "Semitic"), "fa": ("Arabic", "Iranian"), "ur": ("Arabic", "Indo-Aryan"),
    "ckb": ("Arabic", "Iranian"), "ps": ("Arabic", "Iranian"), "sd": ("Arabic", "Indo-Aryan"),
    "ug": ("Arabic", "Turkic"), "he": ("Hebrew", "Semitic"), "yi": ("Hebrew", "Germanic"),
    "am": ("Ethiopic", "Semitic"), "ti": ("Ethiopic", "Semitic"),
    "as": ("Bengali", "Indo-Aryan"), "or": ("Odia", "Indo-Aryan"), "si": ("Sinhala", "Indo-Aryan"),
    "sa": ("Devanagari", "Indo-Aryan"), "dv": ("Thaana", "Indo-Aryan"),
    "km": ("Khmer", "Austroasiatic"), "lo": ("Lao", "Kra-Dai"), "bo": ("Tibetan", "Sino-Tibetan"),
    "bn": ("Bengali", "Indo-Aryan"), "hi": ("Devanagari", "Indo-Aryan"),
    "mr": ("Devanagari", "Indo-Aryan"), "ne": ("Devanagari", "Indo-Aryan"),
    "gu": ("Gujarati", "Indo-Aryan"), "pa": ("Gurmukhi", "Indo-Aryan"),
    "ml": ("Malayalam", "Dravidian"), "ta": ("Tamil", "Dravidian"), "te": ("Telugu", "Dravidian"),
    "kn": ("Kannada", "Dravidian"),
    "my": ("Myanmar", "Sino-Tibetan"), "zh": ("Han", "Sino-Tibetan"), "th": ("Thai", "Kra-Dai"),
    "ja": ("Japanese", "Japonic"), "ko": ("Hangul", "Koreanic"),
}  # fmt: skip


# ISO 15924 -> the name of a script; several are one to a reader.
SCRIPTS = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic",
    "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek",
    "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hang": "Hangul", "Hani": "Han", "Hans": "Han",
    "Hant": "Han", "Hebr": "Hebrew", "Jpan": "Japanese", "Khmr": "Khmer", "Knda": "Kannada",
    "Kore": "Hangul", "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam", "Mymr": "Myanmar",
    "Orya": "Odia", "Sinh": "Sinhala", "Taml": "Tamil", "Telu": "Telugu", "Thai": "Thai",
}  # fmt: skip


def script_and_family(code: str) -> tuple[str, str]:
    """``("Latin", "Atlantic-Congo")`` for ``sw`` and ``swh``; :data:`OTHER` for an unknown code.

    A script that the code itself names is that: ``sr-Latn`` is Latin.
    """
    found = parse_code(code)
    if found is None:
        return KNOWN.get(code, OTHER)
    script, family = KNOWN[found[0]]
    return SCRIPTS.get(found[1], script), family
