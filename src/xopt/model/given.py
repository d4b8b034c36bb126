"""What Python code hands over, made into texts, pairs and words; what is none is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from xopt.errors import InputError

__all__ = ["pairs_of", "sentences_of", "texts_of"]


def texts_of(given: object, what: str = "texts") -> list[str]:
    """The texts of a list, tuple, generator, array or column of a table, in order.

    Args:
        given: what was handed over.
        what: what a message calls it.

    Raises:
        InputError: it is one text, or something without an order; or a member is no text.
    """
    found = _members(given, what)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise InputError(f"Text {number} of {what} is {_article(text)}, no text.")
    return found


def pairs_of(given: object) -> tuple[list[str], list[str | None]]:
    """First texts, and the second text of each that is a pair.

    Raises:
        InputError: a member is neither a text nor two texts; it is named.
    """
    first: list[str] = []
    second: list[str | None] = []
    for number, item in enumerate(_members(given), 1):
        parts: list[Any] | None = [item, None] if isinstance(item, str) else _parts(item)
        if parts is None or len(parts) != 2:
            count = "" if parts is None else f" of {len(parts)}"
            raise InputError(
                f"Text {number} is {_article(item)}{count}, neither a text nor a pair of texts.",
                hint="A pair is (first, second).",
            )
        if parts[1] is None and not isinstance(item, str):
            raise InputError(f"Text {number}, its pair, is None.", hint="A pair has two texts.")
        first.append(parts[0])
        second.append(parts[1])
    return first, second


def sentences_of(given: object) -> list[str | tuple[str, ...]]:
    """Texts, and sentences in words.

    Raises:
        InputError: a member is neither; it is named.
    """
    found: list[str | tuple[str, ...]] = []
    for number, item in enumerate(_members(given), 1):
        parts = item if isinstance(item, str) else _parts(item)
        if parts is None:
            raise InputError(
                f"Text {number} is {_article(item)}, neither a text nor a list of words."
            )
        found.append(parts if isinstance(parts, str) else tuple(parts))
    return found


def _members(given: object, what: str = "texts") -> list[Any]:
    if isinstance(given, str | bytes | bytearray):
        raise InputError(f"{what} is a single text, not a list of texts.", hint="Give [text].")
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        # Some tables give the names of their columns when they are asked for their members.
        raise InputError(
            f"{what} is {_article(given)}, a table with columns, not a list of texts.",
            hint="Give one of its columns; for pairs, zip(first, second) of two.",
        )
    if isinstance(given, Mapping | AbstractSet) or not isinstance(given, Iterable):
        raise InputError(
            f"{what} is {_article(given)}, not a list of texts.",
            hint="Give a list, a tuple, a generator or an array of texts.",
        )
    listed = getattr(given, "to_pylist", None)
    try:
        # Arrow's arrays give values of their own kinds.
        return list(cast(Iterable[Any], listed() if callable(listed) else given))
    except (TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{what} cannot be read one by one: {error}.") from error


def _parts(item: Any) -> list[Any] | None:
    """The members of a list, tuple or array."""
    if isinstance(item, list | tuple):
        return list(item)
    listed = getattr(item, "tolist", None)
    found = listed() if callable(listed) else None
    return found if isinstance(found, list) else None


def _article(item: object) -> str:
    name = "None" if item is None else type(item).__name__
    return name if item is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
