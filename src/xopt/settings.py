"""``xopt.toml``: options for every command, below those of the command line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from xopt.errors import InputError, XoptError, did_you_mean
from xopt.reading import parse_toml, read_text

__all__ = [
    "FILE", "SECTIONS", "fits", "line_of", "option", "possible", "read_section", "resolve",
]  # fmt: skip

FILE = "xopt.toml"
SECTIONS = ("build", "eval", "tune", "serve")
T = TypeVar("T")


def option(default: Any, help: str, *flags: str, argument: bool = False) -> Any:
    """A field of an options dataclass, with what the command line says of it.

    Args:
        default: the field's value if neither file nor command line has one.
        help: one line.
        flags: as they are typed, where ``--name`` is not right.
        argument: whether it is given by its place.
    """
    said = {"help": help, "flags": flags, "argument": argument}
    return dataclasses.field(default=default, metadata=said)


def resolve(kind: type[T], section: str, given: Mapping[str, Any], folder: Path | None = None) -> T:
    """An options object: its defaults, then ``[section]`` of ``xopt.toml``, then the command line.

    Args:
        kind: a dataclass.
        section: the table's name.
        given: from the command line; None stands for "not given".
        folder: where ``xopt.toml`` lies; the working folder by default.

    Raises:
        InputError: the file is damaged, or has a key or a value that ``kind`` does not take; the
            line is named.
    """
    stored = read_section(kind, section, folder)
    typed = {key: value for key, value in given.items() if value is not None}
    try:
        return kind(**stored | typed)
    except XoptError as error:
        place = _blamed(kind, section, folder, stored, typed, error.message)
        if not place:
            raise
        raise type(error)(f"{place}: {error.message}", hint=error.hint) from error


def _blamed(
    kind: type,
    section: str,
    folder: Path | None,
    stored: Mapping[str, Any],
    typed: Mapping[str, Any],
    message: str,
) -> str:
    """The file, and the line of it, whose value cannot be; empty if it was typed."""

    def fails(values: Mapping[str, Any]) -> bool:
        try:
            kind(**values)
        except XoptError as error:
            return error.message == message
        except TypeError:
            # Something that has to be given is among the other values.
            return False
        return False

    own = [key for key in stored if key not in typed]
    if not own or fails(typed):
        return ""
    path = (folder or Path.cwd()) / FILE
    for key in own:
        if fails({**typed, key: stored[key]}):
            line = line_of(read_text(path, error=InputError), section, key)
            return f"{path}, line {line}" if line else str(path)
    return str(path)


def read_section(kind: type, section: str, folder: Path | None = None) -> dict[str, Any]:
    """What ``[section]`` of ``xopt.toml`` says, by the fields of ``kind``; nothing without a file.

    Raises:
        InputError: as :func:`resolve`.
    """
    path = (folder or Path.cwd()) / FILE
    if not path.is_file():
        return {}
    text = read_text(path, error=InputError)
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise InputError(
            f"{path} is damaged: {error}.",
            hint="Mend that line; what a file looks like is shown by: xopt init -o example.toml",
        ) from error
    unknown = sorted(set(document) - set(SECTIONS))
    if unknown:
        raise InputError(
            f"{path}: there is no section {unknown[0]!r}.",
            hint=did_you_mean(unknown[0], SECTIONS),
        )
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise InputError(f"{path}: {section} is {table!r}, not a section [{section}].")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    stored = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        place = f"{path}, line {line_of(text, section, written)}"
        if key not in names:
            raise InputError(f"{place}: [{section}] has no {key!r}.", hint=did_you_mean(key, names))
        if not fits(value, hints[key]):
            raise InputError(
                f"{place}: [{section}] {key} is {value!r}, which is of the wrong type.",
                hint=f"Possible: {possible(hints[key])}.",
            )
        stored[key] = tuple(value) if isinstance(value, list) else value
    return stored


def line_of(text: str, section: str, key: str) -> int:
    """The line, from 1 on, on which ``key`` of ``[section]`` stands; 0 if it is written otherwise.

    A key can also stand in an inline table or behind a dot; only the usual form has a line, with
    ``-`` or ``_`` in the key.
    """
    wanted = key.replace("-", "_")
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            current = stripped.strip("[] ")
        name, sign, _ = stripped.partition("=")
        if sign and current == section and name.strip().strip("\"'").replace("-", "_") == wanted:
            return number
    return 0


def possible(hint: Any) -> str:
    """What a field takes, in words."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(
            possible(part) for part in typing.get_args(hint) if part is not types.NoneType
        )
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f'"{value}"' for value in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f'a list such as ["a", "b"], each {possible(typing.get_args(hint)[0])}'
    words = {str: 'text in quotes, such as "a"', bool: "true, false", int: "a whole number"}
    return words.get(hint, "a number")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from TOML is of the type that a field states."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
