"""Reading requests: JSON to rows, with errors for who wrote the client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xopt.errors import InputError
from xopt.model.texts import Row
from xopt.reading import parse_json

__all__ = [
    "a_bool", "a_name", "a_text", "parse", "shown", "single_or_many", "text_rows", "there",
]  # fmt: skip

# What to do about a body that is something else.
EXPECTED = "Send a JSON object; /docs says what it holds."
# Characters of a value that a message repeats.
SHOWN = 40


def parse(body: bytes, read: Callable[[bytes], Any] = parse_json) -> dict[str, Any]:
    """The request's JSON object, as ``read`` reads it.

    Raises:
        InputError: it is no JSON, or no object.
    """
    if not body.strip():
        raise InputError("The body is empty.", hint=EXPECTED)
    try:
        found = read(body)
    except UnicodeDecodeError as error:
        raise InputError(f"The body is no JSON: byte {error.start:,} is not UTF-8.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The body is no JSON: {error}.", hint=EXPECTED) from error
    if not isinstance(found, dict):
        raise InputError(f"The body is {shown(found)}, not a JSON object.", hint=EXPECTED)
    return found


def shown(value: Any) -> str:
    """A value of a request in JSON's words, short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        value = value if len(value) <= SHOWN else value[:SHOWN] + "…"
        return json.dumps(value, ensure_ascii=False)
    return f"{json.dumps(value):.{SHOWN}}"


def a_bool(body: Mapping[str, Any], name: str, default: bool | None) -> bool | None:
    """A true or false of the request.

    Raises:
        InputError: something else stands there.
    """
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; possible: true, false.")
    return value


def a_name(body: Mapping[str, Any], name: str) -> str | None:
    """A string of the request, or None where it is not there.

    Raises:
        InputError: something else stands there.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}; it has to be a string.")
    return value


def a_text(value: Any, name: str) -> str:
    """A text.

    Raises:
        InputError: it is no string.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}; it has to be a string.")
    return value


def there(body: Mapping[str, Any], name: str, what: str) -> Any:
    """What stands under this name.

    Raises:
        InputError: nothing does; ``what`` should.
    """
    if name not in body:
        raise InputError(f"{name} is missing.", hint=f"Send {what} as {name}.")
    return body[name]


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
        raise InputError(
            f"There are {len(texts)} {names[0]} and {len(pairs)} {names[1]}.",
            hint="Send as many of each, or no second texts.",
        )
    rows = []
    for number, text in enumerate(texts):
        pair = None if pairs is None else pairs[number]
        name = f"{names[0]}[{number}]"
        if pair is not None:
            pair = a_text(pair, f"{names[1]}[{number}]")
        rows.append(Row(a_text(text, name), pair, name, number + 1))
    return rows
