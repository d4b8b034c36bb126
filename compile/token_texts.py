"""Texts on which two tokenizers of one checkpoint would differ, if they differ at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xopt.calibrate.corpus import load_corpus

__all__ = ["Sample", "token_samples"]

LANGUAGES = (
    "ar", "de", "el", "en", "fa", "fr", "hi", "ja", "ka", "ko", "ml", "ru", "sw", "ta", "te", "th",
    "tr", "vi", "zh",
)  # fmt: skip
# Blanks, joiners, controls and marks that a normalizer or a pre-tokenizer may drop, keep or change.
BETWEEN = (
    "  ", "\u3000", "\u00a0", "\u2009", "\t", "\n", "\r\n", "\u200b", "\u200c", "\u200d", "\u00ad",
    "\ufeff", "\u2581", " \u0301", "\x01", "\u2028",
)  # fmt: skip
AROUND = (" ", "  ", "\n", "\u3000", "\u200c", "\u00a0")
SINGLE = (
    "GROẞE STRASSE", "İstanbul'da ISPARTA", "ΟΔΥΣΣΕΎΣ", "naïve café déjà", "ﬁne ﬂow ２０２６ ①②",
    "don't you're it's", "a.b,c;d!e?f", "x" * 120, "中文 日本語テスト", "##ing ▁a Ġb",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f0\U0001f1ea \U0001f44d\U0001f3fd",
    "3.14159 1,000,000", "ｶﾞｷﾞｸﾞ", "e\u0301a\u0300", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "\u0958\u0932\u092e",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A text, a pair of texts, or a sentence in words."""

    text: str | tuple[str, ...]
    pair: str | None = None

    @property
    def shown(self) -> str:
        """Its beginning, as a message shows it."""
        text = self.text if isinstance(self.text, str) else " ".join(self.text)
        return ascii(text[:40]) if not text.isprintable() else text[:40]


def token_samples(special: Iterable[str]) -> list[Sample]:
    """About 250 samples in many scripts.

    Args:
        special: the names of the special tokens, which a text may hold too.
    """
    return list(_samples(list(special)))


def _samples(special: list[str]) -> Iterator[Sample]:
    rows = load_corpus().rows
    texts = [
        text
        for language in LANGUAGES
        for text in [text for code, text in rows if code == language][:3]
    ]
    short = [text[:80] for text in texts]
    for text in texts:
        yield Sample(text)
    for number, text in enumerate(short):
        yield Sample(unicodedata.normalize("NFD", text))
        yield Sample(text + AROUND[number % len(AROUND)])
        first, _, rest = text.partition(" ")
        yield Sample(first + BETWEEN[number % len(BETWEEN)] + rest)
        yield Sample(AROUND[number % len(AROUND)] + text.upper())
        if number % 3 == 0:
            yield Sample(text, short[number - 1] + " ")
            yield Sample(tuple(text.split() or [text]))
    for text in SINGLE:
        yield Sample(text)
    for place, blanks in enumerate(BETWEEN):
        yield Sample(f"Habari{blanks}za asubuhi{AROUND[place % len(AROUND)]}")
    for name in special:
        yield Sample(f"one {name} two")
        yield Sample(f"{name}one{name}")
        yield Sample(f"a {name.lower()} b", f"{name} c")
