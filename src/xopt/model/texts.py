"""Texts from outside: checked, encoded, and named when one of them cannot be answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xopt.errors import InputError
from xopt.packing import Encoding
from xopt.reading import is_visible
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["Row", "chunked", "count_tokens", "encode_rows", "is_unicode", "numbered"]

# Rows answered together. Fixed, and cut by characters as well, because an answer may differ in its
# last bit with the batch it was in: the same input is cut in the same places everywhere.
ROWS = 2048
CHARACTERS = 1_000_000
# No encoder takes more; to tokenize it would need memory without end.
LONGEST = 1_000_000


@dataclass(frozen=True)
class Row:
    """One thing to answer.

    Attributes:
        text: a text, or a sentence in words.
        pair: the second text, or the context of a question.
        name: what a message calls it: ``Text 3``, ``texts.csv, row 7``.
        number: where it stands in its file, from 1 on.

    Raises:
        InputError: a part of it is no text.
    """

    text: str | tuple[str, ...]
    pair: str | None = None
    name: str = "The text"
    number: int = 0

    def __post_init__(self) -> None:
        parts = self.text if isinstance(self.text, tuple) else (self.text,)
        wrong = next((part for part in parts if not isinstance(part, str)), "")
        if not isinstance(wrong, str):
            raise InputError(f"{self.name} is no text but {type(wrong).__name__}.")
        if not isinstance(self.pair, str | None):
            raise InputError(f"{self.name}, its pair, is no text but {type(self.pair).__name__}.")

    @property
    def first(self) -> str:
        """The text; words with a blank between them."""
        return self.text if isinstance(self.text, str) else " ".join(self.text)

    @property
    def characters(self) -> int:
        """Of text and pair together."""
        return len(self.first) + len(self.pair or "")


def numbered(
    texts: Iterable[str | Sequence[str]], pairs: Sequence[str | None] | None = None
) -> Iterator[Row]:
    """Rows that are called Text 1, Text 2 and so on."""
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            text = tuple(text)
        pair = None if pairs is None else pairs[number]
        yield Row(text, pair, f"Text {number + 1}", number + 1)


def chunked(rows: Iterable[Row], characters: int = CHARACTERS) -> Iterator[list[Row]]:
    """Rows in groups of at most :data:`ROWS` and ``characters``; a longer one is by itself."""
    group: list[Row] = []
    size = 0
    for row in rows:
        if group and (len(group) == ROWS or size + row.characters > characters):
            yield group
            group, size = [], 0
        group.append(row)
        size += row.characters
    if group:
        yield group


def is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which no tokenizer takes."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def check_row(row: Row, *, truncate: bool) -> None:
    """Refuse what no tokenizer can read.

    Raises:
        InputError: a text is empty, broken, or longer than any encoder takes.
    """
    for text, name in ((row.first, row.name), (row.pair, f"{row.name}, its pair,")):
        if text is None:
            continue
        if not text.strip():
            raise InputError(f"{name} is empty.", hint="Give at least one visible character.")
        if not is_visible(text):
            raise InputError(
                f"{name} has spaces and control or format characters alone.",
                hint="Give at least one visible character.",
            )
        if not is_unicode(text):
            raise InputError(f"{name} is not valid UTF-8.", hint="Convert it to UTF-8 first.")
        if len(text) > LONGEST and not truncate:
            raise InputError(
                f"{name} has {len(text):,} characters; at most {LONGEST:,} are read.",
                hint="Split it.",
            )


def encode_rows(
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    truncate: bool = False,
    prompt: str = "",
    details: bool = False,
) -> list[Encoding]:
    """One encoding for each row, all of it unless ``truncate``.

    Args:
        tokenizer: of the checkpoint.
        rows: texts or pairs, checked.
        truncate: cut what is too long, on the side that the checkpoint says; of a pair, the longer
            text.
        prompt: put before every text.
        details: keep offsets as well.

    Raises:
        InputError: a row is longer than the encoder takes; it is named.
    """
    found: list[Encoding | None] = [None] * len(rows)
    for paired in (False, True):
        chosen = [i for i, row in enumerate(rows) if (row.pair is not None) == paired]
        if not chosen:
            continue
        # What no encoder takes is cut beforehand, on the side where the tokenizer will cut.
        left = tokenizer.spec.truncation_side == "left"
        kept = slice(-LONGEST, None) if left else slice(LONGEST)
        texts = [prompt + rows[i].first[kept] for i in chosen]
        pairs = [str(rows[i].pair)[kept] for i in chosen] if paired else None
        limit = tokenizer.spec.kept_tokens if truncate else None
        encoded = tokenizer.encode(texts, pairs, max_tokens=limit, details=details)
        encoded = tokenizer.count_prompt(encoded, prompt)
        for i, encoding in zip(chosen, encoded, strict=True):
            if len(encoding) > tokenizer.max_tokens:
                raise _too_long(rows[i], encoding, tokenizer.spec)
            found[i] = encoding
    return [encoding for encoding in found if encoding is not None]


def count_tokens(encoding: Encoding) -> str:
    """``515 tokens``, and why they are more than in a bundle of the whole vocabulary."""
    lost = encoding.replaced
    why = f", for {lost:,} have no row in this trimmed bundle and are read as smaller pieces"
    return f"{len(encoding):,} tokens{why if lost else ''}"


def _too_long(row: Row, encoding: Encoding, spec: TextSpec) -> InputError:
    name = row.name if row.pair is None else f"{row.name} with its pair"
    return InputError(
        f"{name} has {count_tokens(encoding)}; this encoder takes at most {spec.max_tokens}.",
        hint=f"Pass --truncate (in Python truncate=True) to keep {spec.kept_tokens}, or split it.",
    )
