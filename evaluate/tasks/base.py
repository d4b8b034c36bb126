"""What a task is to everything around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from xopt.evaluate.data import Source
from xopt.evaluate.session import Session
from xopt.evaluate.statistics import Scored
from xopt.registry import Registry

__all__ = ["TASKS", "Progress", "Task"]

Progress = Callable[[float], None]


class Task(Protocol):
    """One task of XTREME.

    Attributes:
        name: as the command line spells it.
        head: the head a checkpoint needs for it.
        metric: what the score is called.
        languages: XTREME's list, as its data set spells the languages.
        conventions: what moves the score, with the value in force.
    """

    name: str
    head: str
    metric: str
    languages: tuple[str, ...]

    @property
    def conventions(self) -> Mapping[str, Any]:
        """What moves the score, with the value in force."""

    def probe(self) -> tuple[str, str]:
        """A (config, split) that every copy of the data holds."""

    def available(self, source: Source) -> list[str]:
        """The languages ``source`` holds."""

    def load(self, source: Source, language: str) -> Sequence[Mapping[str, Any]]:
        """The examples of a language, checked.

        Raises:
            DataError: a row breaks the schema; it is named.
        """

    def answer(
        self, session: Session, examples: Sequence[Mapping[str, Any]], progress: Progress
    ) -> Sequence[Any]:
        """One comparable answer per example."""

    def score(self, examples: Sequence[Mapping[str, Any]], answers: Sequence[Any]) -> Scored:
        """What the answers are worth."""


TASKS: Registry[Callable[..., Task]] = Registry(
    "task",
    {
        "tatoeba": "xopt.evaluate.tasks.tatoeba:Tatoeba",
    },
)
