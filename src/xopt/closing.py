"""What is opened for the length of a block, and closed at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self

__all__ = ["Closing", "closing_on_error"]


class _Closes(Protocol):
    def close(self) -> None:
        """Release what it holds."""


@contextmanager
def closing_on_error(opened: _Closes) -> Iterator[None]:
    """Close what was opened where the block fails; else it stays open."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


class Closing(ABC):
    """A context manager that is itself what the block gets.

    :class:`contextlib.closing` needs a second object, and what
    :class:`contextlib.AbstractContextManager` enters has not the subclass's type.
    """

    @abstractmethod
    def close(self) -> None:
        """Release what it holds; a second time does nothing."""

    def __enter__(self) -> Self:
        """The object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, whatever happened in the block."""
        self.close()
