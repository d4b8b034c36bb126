"""A part of a batch while an engine answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Done", "Part", "Pending", "drop"]

Arrays = dict[str, NDArray[np.generic]]


class Part(Protocol):
    """A part of a batch, from when it starts until its answer is taken or given up."""

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """Of its tokens, ``[T, 1]``, once its answer is taken; None without a sparse head."""
        ...

    def take(self) -> NDArray[np.float32]:
        """Wait for the answer, a new array; called once."""
        ...

    def settle(self) -> None:
        """Wait until the part is done; whoever takes its answer hears of its error."""
        ...

    def drop(self) -> None:
        """Wait until the part is done, whatever comes of it; nothing if it was taken."""
        ...


@dataclass(frozen=True)
class Done:
    """A part that was answered when it was started."""

    answer: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None

    def take(self) -> NDArray[np.float32]:
        """The answer."""
        return self.answer

    def settle(self) -> None:
        """It is done."""

    def drop(self) -> None:
        """Nothing runs."""


@dataclass(frozen=True)
class Pending:
    """A batch that was started; calling it waits for the answer, once."""

    parts: Sequence[Part]
    take: Callable[[], Arrays]

    def settle(self) -> None:
        """Wait until it is done, and take nothing: any thread may, whatever the others do."""
        for part in self.parts:
            part.settle()

    def __call__(self) -> Arrays:
        """The answer of the batch, when it is there."""
        return self.take()


def drop(parts: Sequence[Part]) -> None:
    """Wait until all are done, whatever comes of them."""
    for part in parts:
        part.drop()
