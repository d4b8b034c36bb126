"""Reading requests: JSON to rows, with errors for who wrote the client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xopt.errors import InputError
from xopt.model.texts import Row
from xopt.reading import parse_json

__all__ = ["a_bool", "a_name", "a_text", "parse", "single_or_many", "text_rows"]


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        InputError: it is no JSON, or no object.
    """
    try:
        found = parse_json(body)
    except ValueError as error:
        raise InputError(f"The body is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InputError(f"The body is {type(found).__name__}, not a JSON object.")
    return found


def a_bool(body: dict[str, Any], name: str, default: bool | None) -> bool | None:
    """A true or false of the request.

    Raises:
        InputError: something else stands there.
    """
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r:.60}; possible: true, false.")
    return value


def a_name(body: dict[str, Any], name: str) -> str | None:
    """A string of the request, or None where it is not there.

    Raises:
        InputError: something else stands there.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} is {value!r:.60}, which is no string.")
    return value


def a_text(value: Any, name: str) -> str:
    """A text.

    Raises:
        InputError: it is no string.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r:.60}, which is no string.")
    return value


def single_or_many(
    value: Any, name: str, read: Callable[[Any, str], Row]
) -> tuple[list[Row], bool]:
    """Rows of one item or of a list of them, and whether it was one.

    Raises:
        InputError: the list is empty, or an item is of the wrong type.
    """
    if not isinstance(value, list):
        return [read(value, name)], True
    if not value:
        raise InputError(f"{name} is an empty list.", hint="Send at least one text.")
    return [read(item, f"{name}[{number}]") for number, item in enumerate(value)], False


def text_rows(
    texts: Sequence[Any], pairs: Sequence[Any] | None, names: tuple[str, str]
) -> list[Row]:
    """Rows of texts and, where a pair stands beside them, of pairs; a None is no pair.

    Raises:
        InputError: something is no string, or the numbers differ.
    """
    if pairs is not None and len(pairs) != len(texts):
        raise InputError(f"There are {len(texts)} {names[0]} and {len(pairs)} {names[1]}.")
    rows = []
    for number, text in enumerate(texts):
        pair = None if pairs is None else pairs[number]
        name = f"{names[0]}[{number}]"
        if pair is not None:
            pair = a_text(pair, f"{names[1]}[{number}]")
        rows.append(Row(a_text(text, name), pair, name, number + 1))
    return rows
