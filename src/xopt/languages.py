"""The languages xopt knows by name: XTREME's forty, and what else XLM-R was trained on.

A code is ISO 639-1, or where a language has another name in use: ISO 639-3 or 639-2, of the
macrolanguage or of its usual member, or a code that was withdrawn (``iw``). What BCP 47 puts behind
it is read as well, with a hyphen or an underscore, in any case: a region (``pt_BR``) is no other
language here, a script (``sr-Latn``) stays part of the code.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from xopt.errors import InputError, did_you_mean

__all__ = [
    "MORE_NAMES", "NAMES", "check_languages", "code_of", "is_tag", "language_name", "names_of",
    "parse_code", "to_iso1",
]  # fmt: skip

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

MORE_NAMES: dict[str, str] = {
    "am": "Amharic", "as": "Assamese", "az": "Azerbaijani", "be": "Belarusian", "br": "Breton",
    "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish",
    "eo": "Esperanto", "fy": "Western Frisian", "ga": "Irish", "gd": "Scottish Gaelic",
    "gl": "Galician", "gu": "Gujarati", "ha": "Hausa", "hr": "Croatian", "hy": "Armenian",
    "is": "Icelandic", "km": "Khmer", "kn": "Kannada", "ku": "Kurdish", "ky": "Kyrgyz",
    "la": "Latin", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mg": "Malagasy",
    "mk": "Macedonian", "mn": "Mongolian", "ne": "Nepali", "no": "Norwegian", "om": "Oromo",
    "or": "Odia", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "ro": "Romanian",
    "sa": "Sanskrit", "sd": "Sindhi", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian",
    "so": "Somali", "sq": "Albanian", "sr": "Serbian", "su": "Sundanese", "sv": "Swedish",
    "ug": "Uyghur", "uk": "Ukrainian", "uz": "Uzbek", "xh": "Xhosa", "yi": "Yiddish",
}  # fmt: skip

_NAMED = NAMES | MORE_NAMES
_CODE_OF = {name.lower(): code for code, name in _NAMED.items()}

# Other codes of a language behind its own.
_CODES = """
    af afr, am amh, ar ara arb, as asm, az aze azj, be bel, bg bul, bn ben, br bre, bs bos,
    ca cat, cs ces cze, cy cym wel, da dan, de deu ger, el ell gre, en eng, eo epo, es spa,
    et est ekk, eu eus baq, fa fas per pes, fi fin, fr fra fre, fy fry, ga gle, gd gla, gl glg,
    gu guj, ha hau, he heb iw, hi hin, hr hrv, hu hun, hy hye arm, id ind in, is isl ice, it ita,
    ja jpn, jv jav jw, ka kat geo, kk kaz, km khm, kn kan, ko kor, ku kur kmr, ky kir, la lat,
    lo lao, lt lit, lv lav lvs, mg mlg plt, mk mkd mac, ml mal, mn mon khk, mr mar,
    ms msa may zsm, my mya bur, ne nep npi, nl nld dut, no nor nb nob nn nno, om orm gaz,
    or ori ory, pa pan, pl pol, ps pus pbt, pt por, ro ron rum mo mol, ru rus, sa san, sd snd,
    si sin, sk slk slo, sl slv, so som, sq sqi alb als, sr srp, su sun, sv swe, sw swa swh,
    ta tam, te tel, th tha, tl tgl fil, tr tur, ug uig, uk ukr, ur urd, uz uzb uzn, vi vie,
    xh xho, yi yid ydd ji, yo yor, zh zho chi cmn
"""
_ISO1 = {code: codes[0] for codes in map(str.split, _CODES.split(",")) for code in codes}

# ISO 15924: what these languages are written in, as BCP 47 says it.
_SCRIPTS = (
    "Arab Armn Beng Cyrl Deva Ethi Geor Grek Gujr Guru Hang Hani Hans Hant Hebr Jpan Khmr Knda "
    "Kore Laoo Latn Mlym Mymr Orya Sinh Taml Telu Thai"
)

# BCP 47 as far as it is read: language, script, region.
_TAG = re.compile(r"([a-z]{2,3})(?:-([a-z]{4}))?(?:-(?:[a-z]{2}|[0-9]{3}))?", re.IGNORECASE)


# Data sets have one in every row.
@lru_cache(maxsize=1024)
def parse_code(code: str) -> tuple[str, str] | None:
    """(ISO 639-1, script or nothing) of a code; None if it is of no language known here."""
    found = _TAG.fullmatch(code.strip().replace("_", "-"))
    if found is None:
        return None
    language, script = _ISO1.get(found[1].lower()), (found[2] or "").title()
    return (language, script) if language and (not script or script in _SCRIPTS.split()) else None


def to_iso1(code: str) -> str:
    """``sw`` for ``swh``, ``pt`` for ``pt_BR``, ``sr-Latn`` for ``srp_latn``; else ``code``."""
    found = parse_code(code)
    return "-".join(part for part in found if part) if found else code


def code_of(stated: str) -> str | None:
    """The code of a language by its code or its English name, in any case; None if unknown here."""
    name = stated.strip().lower()
    return to_iso1(name) if parse_code(name) else _CODE_OF.get(name.replace("_", " "))


def is_tag(code: str) -> bool:
    """Whether it has the form of a code, of a language that is known here or not."""
    return _TAG.fullmatch(code.strip().replace("_", "-")) is not None


def language_name(code: str) -> str:
    """``Swahili`` for ``sw`` and ``swh``; an unknown code stands for itself."""
    found = parse_code(code)
    if found is None:
        return code
    language, script = found
    return f"{_NAMED[language]} in {script}" if script else _NAMED[language]


def names_of(codes: Iterable[str]) -> dict[str, str]:
    """A name for each code that no other of them has: ``Norwegian (nb)`` beside ``(nn)``."""
    names = {code: language_name(code) for code in codes}
    counts = Counter(names.values())
    return {code: name if counts[name] == 1 else f"{name} ({code})" for code, name in names.items()}


def check_languages(asked: Sequence[str], possible: Iterable[str], *, where: str) -> list[str]:
    """The asked codes as ``possible`` spells them, in the order asked; see :func:`to_iso1`.

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
            called = language_name(name)
            what = f"Unknown language {name!r}"
            if called != name:
                what = f"There is no {called} ({name})"
            raise InputError(f"{what} for {where}.", hint=_suggestion(name, by_iso1))
        if match not in found:
            found.append(match)
    return found


def _suggestion(name: str, by_iso1: dict[str, str]) -> str:
    """What was meant: the language without its script, of this name, or of a like long code.

    Two letters are always near to another two, which are of another language.
    """
    parsed = parse_code(name)
    meant = by_iso1.get(parsed[0]) if parsed else None
    if parsed is None and len(name) > 3:
        names = {_NAMED.get(iso1, "").lower(): code for iso1, code in by_iso1.items()}
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.8)
        meant = names[close[0]] if close else None
    if meant is None and parsed is None and len(name) == 3:
        return did_you_mean(name, by_iso1.values())
    said = f"Did you mean {meant!r}? " if meant else ""
    return f"{said}Possible: {', '.join(sorted(by_iso1.values()))}."
