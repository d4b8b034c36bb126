"""``xopt.toml``: options for every command, below those of the command line."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from xopt.errors import InputError, did_you_mean
from xopt.reading import read_text

__all__ = ["FILE", "fits", "resolve"]

FILE = "xopt.toml"
SECTIONS = ("build", "eval", "tune", "serve")
T = TypeVar("T")


def resolve(kind: type[T], section: str, given: Mapping[str, Any], folder: Path | None = None) -> T:
    """An options object: its defaults, then ``[section]`` of ``xopt.toml``, then the command line.

    Args:
        kind: a dataclass.
        section: the table's name.
        given: from the command line; None stands for "not given".
        folder: where ``xopt.toml`` lies; the working folder by default.

    Raises:
        InputError: the file is damaged, or has a key or a value that ``kind`` does not take.
    """
    path = (folder or Path.cwd()) / FILE
    stored: dict[str, Any] = {}
    if path.is_file():
        try:
            document = tomllib.loads(read_text(path, error=InputError))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path} is damaged: {error}.") from error
        unknown = sorted(set(document) - set(SECTIONS))
        if unknown:
            raise InputError(
                f"{path}: there is no section {unknown[0]!r}.",
                hint=did_you_mean(unknown[0], SECTIONS),
            )
        table = document.get(section, {})
        if not isinstance(table, dict):
            raise InputError(f"{path}: {section} is {table!r}, not a section [{section}].")
        stored = {key.replace("-", "_"): value for key, value in table.items()}
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key, value in stored.items():
        if key not in names:
            raise InputError(f"{path}: [{section}] has no {key!r}.", hint=did_you_mean(key, names))
        if not fits(value, hints[key]):
            raise InputError(f"{path}: [{section}] {key} is {value!r}, which is of the wrong type.")
    stored |= {key: value for key, value in given.items() if value is not None}
    return kind(**stored)


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
