"""What is opened for the length of a block, and closed at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


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
