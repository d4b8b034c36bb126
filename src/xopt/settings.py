"""``xopt.toml``: options for every command, below those of the command line."""

from __future__ import annotations

import dataclasses
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from xopt.errors import InputError, XoptError, did_you_mean
from xopt.forms import spelled
from xopt.reading import parse_toml, read_text

__all__ = [
    "FILE", "NO_FILE", "SECTIONS", "as_typed", "command_of", "fits", "leave_file_out", "line_of",
    "option", "possible", "read_section", "resolve",
]  # fmt: skip

FILE = "xopt.toml"
EXAMPLE = "Mend that line; what a file looks like is shown by: xopt init -o example.toml"
SECTIONS = ("build", "eval", "tune", "serve")
T = TypeVar("T")
NO_FILE = "--no-file"
_left_out: ContextVar[bool] = ContextVar("left_out", default=False)


def leave_file_out(yes: bool) -> None:
    """Whether the options of this command come from the command line alone."""
    _left_out.set(yes)


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
            return _place(path, read_text(path, error=InputError), section, key)
    return str(path)


def as_typed(options: Any, names: Sequence[str] | None = None) -> list[str]:
    """The words of a command line that give these options, those at their defaults left out.

    Args:
        options: of a dataclass whose fields are each an :func:`option`.
        names: of the fields to give; all by default.
    """
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value == field.default or (names is not None and field.name not in names):
            continue
        if field.metadata["argument"]:
            words.insert(0, str(value))
        elif value is True:
            words.append(f"--{field.name.replace('_', '-')}")
        else:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words


def command_of(
    section: str, options: Any, names: Sequence[str] | None = None, more: Sequence[str] = ()
) -> str:
    """The command that gives these options wherever it is typed, quoted for a shell.

    It leaves ``xopt.toml`` out where that would add to it: there is no word for an option's
    absence.

    Args:
        section: of the file, and the command.
        options, names: as for :func:`as_typed`.
        more: words at the end.
    """
    words = [*as_typed(options, names), *more]
    named = {word for word in words if word.startswith("--")}
    try:
        stored = _in_file(type(options), section)
    except XoptError:
        stored = {}
    added = [
        field.name
        for field in dataclasses.fields(options)
        if stored.get(field.name, field.default) != field.default
        and not (field.metadata["argument"] or f"--{field.name.replace('_', '-')}" in named)
    ]
    return shlex.join(["xopt", *([NO_FILE] if added else []), section, *words])


def read_section(kind: type, section: str, folder: Path | None = None) -> dict[str, Any]:
    """What ``[section]`` of ``xopt.toml`` says, by the fields of ``kind``; nothing without a file.

    Raises:
        InputError: as :func:`resolve`.
    """
    return {} if _left_out.get() else _in_file(kind, section, folder)


def _in_file(kind: type, section: str, folder: Path | None = None) -> dict[str, Any]:
    path = (folder or Path.cwd()) / FILE
    if not path.is_file():
        return {}
    text = read_text(path, error=InputError)
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.", hint=EXAMPLE) from error
    unknown = sorted(set(document) - set(SECTIONS))
    if unknown:
        raise InputError(
            f"{_place(path, text, unknown[0])}: there is no section {unknown[0]!r}.",
            hint=did_you_mean(unknown[0], SECTIONS),
        )
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise InputError(
            f"{_place(path, text, section)}: {section} is {spelled(table)}, not a section "
            f"[{section}].",
            hint=EXAMPLE,
        )
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    stored = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key in stored:
            raise InputError(
                f"{_place(path, text, section, written)}: [{section}] {key} is there twice, with - "
                "and with _.",
                hint="Take one of them out.",
            )
        if key not in names:
            raise InputError(
                f"{_place(path, text, section, written)}: [{section}] has no {key!r}.",
                hint=did_you_mean(key, names),
            )
        if not fits(value, hints[key]):
            raise InputError(
                f"{_place(path, text, section, written)}: [{section}] {key} is {spelled(value)}, "
                "which is of the wrong type.",
                hint=f"Possible: {possible(hints[key])}.",
            )
        stored[key] = tuple(value) if isinstance(value, list) else value
    return stored


def _place(path: Path, text: str, section: str, key: str | None = None) -> str:
    line = line_of(text, section, key)
    return f"{path}, line {line}" if line else str(path)


def line_of(text: str, section: str, key: str | None = None) -> int:
    """The line, from 1 on, on which ``key`` of ``[section]`` is set, or the section begins; else 0.

    However it is written: in quotes, behind a dot, in an inline table, with ``-`` or ``_``, below a
    text of several lines. The statements are read one after the other.
    """
    wanted = (section, key.replace("-", "_")) if key is not None else (section,)
    path: list[str] = []
    begin, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += line.rstrip("\r") + "\n"
        try:
            found = parse_toml(statement)
        except ValueError:
            # It goes on in the next line.
            continue
        if statement.lstrip().startswith("["):
            path = _header(found)
            found = {}
        for name in reversed(path):
            found = {name: found}
        if _holds(found, wanted):
            return begin
        begin, statement = number + 1, ""
    return 0


def _header(found: Mapping[str, Any]) -> list[str]:
    """The names of ``[a.b]`` or ``[[a]]``."""
    names: list[str] = []
    while isinstance(found, dict) and found:
        [(name, inside)] = found.items()
        names.append(name)
        found = inside
    return names


def _holds(found: Any, wanted: Sequence[str]) -> bool:
    if not wanted:
        return True
    if not isinstance(found, dict):
        return False
    return any(
        name.replace("-", "_") == wanted[0] and _holds(inside, wanted[1:])
        for name, inside in found.items()
    )


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
        one = typing.get_args(hint)[0]
        return isinstance(value, list) and all(fits(part, one) for part in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
