"""Conventions by name, as they come from the command line or ``xopt.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from xopt.errors import InputError, did_you_mean
from xopt.evaluate.tasks.base import TASKS, Task

__all__ = ["make_task", "parse_conventions"]


def parse_conventions(pairs: Sequence[str], tasks: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs, each of the type that its convention has.

    Args:
        pairs: as typed.
        tasks: names of the tasks; each convention must belong to one of them at least.

    Raises:
        InputError: an unknown name, or a value of the wrong type.
    """
    defaults = {
        field.name: field.default for name in tasks for field in fields(TASKS.resolve(name))
    }
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in defaults:
            raise InputError(
                f"--convention {pair!r} is not NAME=VALUE of {', '.join(tasks)}.",
                hint=did_you_mean(name, defaults),
            )
        found[name] = _value(name, text, defaults[name])
    return found


def make_task(name: str, asked: Mapping[str, Any]) -> Task:
    """The task with those of the asked conventions that it has."""
    kind = TASKS.resolve(name)
    own = {field.name for field in fields(kind)}
    return kind(**{key: value for key, value in asked.items() if key in own})


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InputError(f"--convention {name} is true or false, not {text!r}.")
    if isinstance(default, int):
        if text.isdigit() and int(text) > 0:
            return int(text)
        raise InputError(f"--convention {name} is a number from 1 on, not {text!r}.")
    return text
