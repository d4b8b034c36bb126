"""How long work tells how far it is, without knowing who shows it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


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
