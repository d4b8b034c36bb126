"""Rows to encodings, as each kind of head reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xopt.errors import InputError
from xopt.model.layout import read_sentences
from xopt.model.spans import MAX_QUERY, WINDOW, read_windows
from xopt.model.texts import LONGEST, Row, check_row, count_tokens, encode_rows, is_unicode
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["ALONE", "Asking", "first_windows", "read_rows"]

# Heads that read no pairs, and what they do.
ALONE = {"embed": "embeds", "tag": "tags"}
# A window that shows less of its context than this reads nothing.
LEAST_CONTEXT = 16


@dataclass(frozen=True)
class Asking:
    """How texts are read and answered.

    Attributes:
        prompt: put before every text.
        normalize: embeddings to length 1; as the checkpoint says if None.
        truncate: cut what is longer than the encoder takes instead of refusing it.
        windows: read a context that is too long in windows, instead of refusing or cutting it.

    Raises:
        InputError: one of them is of another kind, or the prompt is no text that a tokenizer takes.
    """

    prompt: str = ""
    normalize: bool | None = None
    truncate: bool = False
    windows: bool = True

    def __post_init__(self) -> None:
        for name in ("normalize", "truncate", "windows"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (name == "normalize" and value is None):
                raise InputError(f"{name} is {value!r}, not True or False.")
        if not is_unicode(self.prompt):
            raise InputError("The prompt is not valid UTF-8.", hint="Convert it to UTF-8 first.")


def read_rows(
    tokenizer: Tokenizer, rows: Sequence[Row], kind: str, asking: Asking
) -> list[list[Encoding]]:
    """The encodings of each row: one, or the parts or windows that it is read in.

    Raises:
        InputError: a row that cannot be answered; it is named.
    """
    for row in rows:
        check_row(row, truncate=asking.truncate)
        if kind != "tag" and not isinstance(row.text, str):
            raise InputError(
                f"{row.name} is a list of words, which a tagger reads; this bundle reads texts.",
                hint="Join the words to one text.",
            )
        if row.pair is not None and kind in ALONE:
            raise InputError(
                f"{row.name} has a second text; this bundle {ALONE[kind]} single texts.",
                hint="Leave the pair (--pair, --pair-column) out: pairs are for classifiers, and "
                "for questions with their contexts.",
            )
    if kind == "span":
        return _read_questions(tokenizer, rows, asking)
    if kind == "tag":
        return _read_tagged(tokenizer, rows, truncate=asking.truncate)
    found = encode_rows(tokenizer, rows, truncate=asking.truncate, prompt=asking.prompt)
    return [[encoding] for encoding in found]


def first_windows(
    tokenizer: Tokenizer, questions: Sequence[str], contexts: Sequence[str]
) -> list[Encoding]:
    """The first window of each question and its context, cut as :func:`read_rows` cuts them.

    Raises:
        InputError: the encoder has no room for both.
    """
    size = _usual_size(_question_room(tokenizer))
    windows = read_windows(tokenizer, questions, contexts, max_query=size, cut=True)
    return [window for [window] in windows]


def _question_room(tokenizer: Tokenizer) -> int:
    """Tokens that a question may have at most, beside as much of its context as can be read."""
    special = tokenizer.fast.num_special_tokens_to_add(is_pair=True)
    return tokenizer.max_tokens - special - LEAST_CONTEXT


def _usual_size(room: int) -> int:
    """Tokens that are kept of a question that is cut."""
    return max(1, min(MAX_QUERY, room))


def _read_tagged(
    tokenizer: Tokenizer, rows: Sequence[Row], *, truncate: bool
) -> list[list[Encoding]]:
    """Texts whole, sentences in words in parts."""
    texts = [row for row in rows if isinstance(row.text, str)]
    sentences = [row.text for row in rows if not isinstance(row.text, str)]
    names = [row.name for row in rows if not isinstance(row.text, str)]
    whole = iter(encode_rows(tokenizer, texts, truncate=truncate, details=True))
    parts = iter(read_sentences(tokenizer, sentences, names))
    return [[next(whole)] if isinstance(row.text, str) else next(parts) for row in rows]


def _read_questions(
    tokenizer: Tokenizer, rows: Sequence[Row], asking: Asking
) -> list[list[Encoding]]:
    """The windows of each question and its context."""
    for row in rows:
        if row.pair is None:
            raise InputError(
                f"{row.name} has no context; this bundle answers questions from a context.",
                hint='Type: xopt run BUNDLE "a question" --pair "the context"',
            )
    room = _question_room(tokenizer)
    usual = _usual_size(room)
    sizes = [0] * len(rows)
    if not asking.truncate:
        sizes = _question_sizes(tokenizer, rows)
    for row, size in zip(rows, sizes, strict=True):
        if size > max(room, 1):
            raise InputError(
                f"{row.name}: the question has {size:,} tokens and leaves no room for its "
                f"context; this encoder takes {tokenizer.max_tokens} together.",
                hint=f"Pass --truncate (in Python truncate=True) to keep the first {usual}.",
            )
    found: dict[int, list[Encoding]] = {}
    long = [[i] for i, size in enumerate(sizes) if size > usual]
    for group in [[i for i, size in enumerate(sizes) if size <= usual], *long]:
        # A long question gets a window of its own size, and shares it with no other.
        size = max(usual, *(sizes[i] for i in group)) if group else usual
        windows = read_windows(
            tokenizer,
            [rows[i].first for i in group],
            [str(rows[i].pair)[:LONGEST] for i in group],
            window=WINDOW + size - usual if asking.windows else tokenizer.max_tokens,
            max_query=size,
            cut=asking.truncate and not asking.windows,
        )
        found |= zip(group, windows, strict=True)
        for i, parts in zip(group, windows, strict=True):
            if len(parts) > 1 and not asking.windows:
                raise _refused(tokenizer, rows[i])
    return [found[i] for i in range(len(rows))]


def _refused(tokenizer: Tokenizer, row: Row) -> InputError:
    [whole] = tokenizer.encode([row.first], [str(row.pair)], max_tokens=None)
    return InputError(
        f"{row.name} with its pair has {count_tokens(whole)}; this encoder takes at most "
        f"{tokenizer.max_tokens}.",
        hint="Pass --windows to read the whole context in windows, or --truncate to cut it.",
    )


def _question_sizes(tokenizer: Tokenizer, rows: Sequence[Row]) -> list[int]:
    """Tokens of each question, without special ones."""
    special = tokenizer.fast.num_special_tokens_to_add(is_pair=False)
    encoded = tokenizer.encode([row.first for row in rows], max_tokens=None)
    return [len(encoding) - special for encoding in encoded]
