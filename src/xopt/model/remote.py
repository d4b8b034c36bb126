"""What every server needs of a model: programs made early, sizes refused early, other words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xopt.errors import InputError
from xopt.model.session import Session
from xopt.model.texts import Row
from xopt.packing import Encoding

__all__ = ["TooLargeError", "check_sizes", "for_clients", "warm"]

# Tokens of the texts that an engine answers before the first request.
WARM_LENGTHS = (8, 16, 24, 32)


class TooLargeError(InputError):
    """A request with more, or longer, texts than a server takes."""


def warm(session: Session) -> None:
    """Make every program before the first request: a text alone, like lengths, and ragged ones."""
    ids = np.zeros(max(WARM_LENGTHS), np.int32)
    most = session.engine.signature.max_tokens
    encodings = [Encoding(ids[:n], ids[:n]) for n in WARM_LENGTHS if n <= most]
    if encodings:
        for batch in (encodings[:1], encodings[:1] * 2, encodings, encodings * 4):
            session.start(batch)()


def check_sizes(rows: Sequence[Row], max_text_kib: int) -> None:
    """Refuse what must not reach the tokenizer: its time grows with every byte.

    Raises:
        TooLargeError: a text, or a pair together, has more than ``max_text_kib`` KiB of UTF-8.
    """
    most = max_text_kib * 2**10
    for row in rows:
        # A character has at most four bytes, so most texts need not be encoded for this.
        if row.characters * 4 > most and _size(row) > most:
            raise TooLargeError(f"{row.name} has more than {max_text_kib:,} KiB.", hint="Split it.")


def for_clients(error: InputError) -> InputError:
    """The same error without hints that are for who types a command, the kind's own included."""
    hint = error.hint
    if "--truncate" in hint:
        hint = 'Send "truncate": true, or split the text.'
    elif any(word in hint for word in ("xopt ", "--", "Type:")):
        hint = ""
    found = InputError(error.message)
    found.hint = hint
    return found


def _size(row: Row) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in (row.first, row.pair or ""))
