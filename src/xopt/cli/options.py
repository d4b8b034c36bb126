"""A command's parameters out of the dataclass that holds its options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

__all__ = ["takes"]

Command = Callable[..., None]


def takes(kind: type[Any]) -> Callable[[Command], Command]:
    """Give a command every field of ``kind`` as a parameter.

    Each field is made by :func:`xopt.settings.option`. The command gets what was typed as its first
    argument, ``name -> value``, with None for what was not.

    Args:
        kind: a dataclass.
    """
    # Those of its own before those that it inherits.
    fields = sorted(dataclasses.fields(kind), key=lambda field: bool(field.kw_only))
    hints = typing.get_type_hints(kind)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = {field.name: given.pop(field.name) for field in fields}
            command(options, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        asked = [_parameter(field, hints[field.name]) for field in fields]
        every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*asked, *own)]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return run

    return decorate


def _parameter(field: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    said = field.metadata
    shown: Any = (
        typer.Argument(help=said["help"])
        if said["argument"]
        else typer.Option(*said["flags"], help=said["help"])
    )
    annotation = Annotated[_plain(hint) | None, shown]  # type: ignore[valid-type]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _plain(hint: Any) -> Any:
    """``str``, ``int``, ``float`` or ``bool``: what is typed for a field of this type."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        [only] = [part for part in typing.get_args(hint) if part is not type(None)]
        return _plain(only)
    return type(typing.get_args(hint)[0]) if origin is typing.Literal else hint
