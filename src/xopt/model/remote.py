"""What every server needs of a model: sizes refused early, other words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xopt.errors import InputError
from xopt.model.texts import Row

__all__ = ["TooLargeError", "check_sizes", "check_together", "for_clients"]


# What marks a hint as one for who types a command; what a client can do instead, by a word of it.
COMMANDS = ("xopt ", "--", "Type:")
OPENED = re.compile(r"\b([Tt])his (trimmed )?(?:bundle|encoder)\b")
ADVICE = (
    ("--truncate", 'Send "truncate": true, or split the text.'),
    ("Leave the pair", "Leave the second text out."),
    ("the context", "Send the context as the second text."),
)


class TooLargeError(InputError):
    """A request with more, or longer, texts than a server takes."""


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


def check_together(rows: Sequence[Row], most_kib: int) -> None:
    """Refuse what is more than a request can hold: a query counts once for each of its texts.

    Raises:
        TooLargeError: all texts and pairs together have more than ``most_kib`` KiB of UTF-8.
    """
    most = most_kib * 2**10
    if sum(row.characters for row in rows) * 4 > most and sum(map(_size, rows)) > most:
        raise TooLargeError(
            f"The texts have more than {most_kib:,} KiB together; a query counts once for each "
            "of its texts.",
            hint="Send several requests; they are joined again.",
        )


def for_clients(error: InputError) -> InputError:
    """The same error without hints that are for who types a command, the kind's own included."""
    hint = error.hint
    other = (advice for word, advice in ADVICE if word in hint)
    if any(word in hint for word in COMMANDS):
        hint = next(other, "")
    # The message names what was opened; a client asks a model by its name.
    found = InputError(OPENED.sub(r"\1his \2model", error.message))
    found.hint = hint
    return found


def _size(row: Row) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in (row.first, row.pair or ""))
