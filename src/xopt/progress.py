"""How long work tells how far it is, without knowing who shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Progress", "Silent", "Stage", "StageClock"]


class Progress(Protocol):
    """A place to report stages and shares of them."""

    def stage(self, name: str) -> None:
        """A new stage begins; the one before it is done."""
        ...

    def share(self, done: float) -> None:
        """The finished share of the current stage, 0 to 1."""
        ...


class Silent:
    """Shows nothing."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def share(self, done: float) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Stage:
    """What one stage took.

    Attributes:
        name: of the stage.
        seconds: of wall time.
        peak_rss_mib: the most memory that the process had held at once when it ended.
    """

    name: str
    seconds: float
    peak_rss_mib: float


class StageClock:
    """Passes everything on and keeps what each stage took.

    Args:
        shown: where stages are shown.
        memory: the most memory that the process has held until now, in MiB.
    """

    def __init__(self, shown: Progress, memory: Callable[[], float]) -> None:
        self._shown, self._memory = shown, memory
        self._begin: tuple[str, float] | None = None
        self.stages: list[Stage] = []

    def stage(self, name: str) -> None:
        """The stage before ends here."""
        self.finish()
        self._begin = (name, time.perf_counter())
        self._shown.stage(name)

    def share(self, done: float) -> None:
        """Pass it on."""
        self._shown.share(done)

    def finish(self) -> None:
        """The last stage ends here."""
        if self._begin is not None:
            name, begin = self._begin
            self.stages.append(Stage(name, time.perf_counter() - begin, self._memory()))
            self._begin = None
