"""The text form of a protocol buffer, as config.pbtxt is written."""

from __future__ import annotations

import json
import re
from typing import Any

from xopt.cli import deploy  # noqa: F401

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')


def parse(text: str) -> dict[str, list[Any]]:
    """Protobuf's text form: ``field -> values``, messages as dicts, in the order they come."""
    tokens = TOKEN.findall(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
    message, rest = _message(tokens, 0)
    assert rest == len(tokens)
    return message


def _message(tokens: list[str], at: int) -> tuple[dict[str, list[Any]], int]:
    found: dict[str, list[Any]] = {}
    while at < len(tokens) and tokens[at] != "}":
        field = tokens[at]
        assert re.fullmatch(r"[a-z_]+", field), field
        at += 1
        if tokens[at] == ":":
            at += 1
        else:
            assert tokens[at] in "{[", f"{field} is a scalar without a colon"
        values, at = _values(tokens, at)
        found.setdefault(field, []).extend(values)
        if at < len(tokens) and tokens[at] == ",":
            at += 1
    return found, at


def _values(tokens: list[str], at: int) -> tuple[list[Any], int]:
    if tokens[at] != "[":
        value, at = _value(tokens, at)
        return [value], at
    values = []
    at += 1
    while tokens[at] != "]":
        value, at = _value(tokens, at)
        values.append(value)
        if tokens[at] == ",":
            assert tokens[at + 1] != "]"
            at += 1
        else:
            assert tokens[at] == "]", "values of a list stand apart by commas"
    return values, at + 1


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "{":
        message, end = _message(tokens, at + 1)
        assert tokens[end] == "}"
        return message, end + 1
    if token[0] == '"':
        return json.loads(token), at + 1
    return (int(token) if re.fullmatch(r"-?\d+", token) else token), at + 1
