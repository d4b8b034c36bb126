"""The tasks that ``xopt eval`` asks, with their conventions, and the languages that they have."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from xopt.errors import InputError
from xopt.evaluate.data import open_source
from xopt.evaluate.tasks import TASKS, Task
from xopt.evaluate.tasks.conventions import make_task, parse_conventions
from xopt.languages import check_languages
from xopt.publishing import check_outside

__all__ = ["check_codes", "submission_folder", "task_of"]


class Wishes(Protocol):
    """What is read of the command's options."""

    @property
    def tasks(self) -> list[str]: ...
    @property
    def convention(self) -> tuple[str, ...]: ...
    @property
    def direction(self) -> str: ...
    @property
    def prefix(self) -> str | None: ...
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


def submission_folder(name: str | None, tasks: Sequence[str]) -> Path | None:
    """The folder of the submission files, with one for each task; made before anything is answered.

    Raises:
        InputError: there can be no such folder.
    """
    if name is None:
        return None
    folder = Path(name)
    check_outside(folder / "task", "--submission")
    for task in tasks:
        try:
            (folder / task).mkdir(parents=True, exist_ok=True)
            # Nothing else tells whether a file can be written there.
            with tempfile.TemporaryFile(dir=folder / task):
                pass
        except OSError as error:
            raise InputError(
                f"--submission {name}: {error.filename or folder}: {error.strerror or error}.",
                hint="Give a folder that can be made or written; a file for each task and "
                "language is put into it.",
            ) from error
    return folder
