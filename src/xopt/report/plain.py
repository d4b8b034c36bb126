"""Words from a document, as a page and a line of text can hold them."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = ["plain"]

# Line ends and tabs are blanks to a page. Other control characters no page may hold, and those that
# turn the direction of writing would turn what stands behind them too.
CONTROLS = [*range(9), *range(11, 13), *range(14, 32), *range(127, 160)]
TURNS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
UNSEEN = dict.fromkeys([*CONTROLS, *TURNS], "\ufffd")
# Between these, a word that is written from right to left moves no figure beside it.
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


def plain(value: Any) -> Any:
    """The document with every text of it made plain, keys too; a command stays as it is typed."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {
            _text(key): one if key == "command" and isinstance(one, str) else plain(one)
            for key, one in value.items()
        }
    return value


def _text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = text.translate(UNSEEN)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"
    return text
