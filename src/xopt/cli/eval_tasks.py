"""The tasks that ``xopt eval`` asks, with their conventions, and the languages that they have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from xopt.errors import InputError
from xopt.evaluate.data import open_source
from xopt.evaluate.tasks import TASKS, Task
from xopt.evaluate.tasks.conventions import make_task, parse_conventions
from xopt.languages import check_languages

__all__ = ["check_codes", "task_of"]


class Wishes(Protocol):
    """What is read of the command's options."""

    @property
    def tasks(self) -> list[str]: ...
    @property
    def convention(self) -> tuple[str, ...]: ...
    @property
    def direction(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def data(self) -> str | None: ...


def task_of(name: str, wishes: Wishes) -> Task:
    """A task with the conventions that are asked for."""
    asked = parse_conventions(wishes.convention, wishes.tasks)
    asked |= {"direction": wishes.direction, "prefix": wishes.prefix}
    if wishes.split is not None:
        asked["split"] = wishes.split
    return make_task(name, asked)


def check_codes(codes: list[str], wishes: Wishes) -> None:
    """Refuse a language that none of several tasks has, before the first one begins."""
    possible: set[str] = set()
    for name in wishes.tasks:
        available: Sequence[str] = TASKS.resolve(name).languages
        # What is wrong with a task or its data is said in its turn.
        with suppress(InputError):
            task = task_of(name, wishes)
            source = open_source(wishes.data, probe=task.probe())
            available = task.on(source).available(source)
        possible.update(available)
    if possible:
        check_languages(codes, possible, where="any of these tasks")
