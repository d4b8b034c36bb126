"""What waits in front of an engine: texts in the order of their places, requests that can leave."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xopt.packing import Encoding

__all__ = ["Item", "Job", "Waiting"]

Array = NDArray[np.float32]


@dataclass(eq=False)
class Job:
    """A request: its encodings, and what is known of their answers.

    Attributes:
        encodings: of its texts.
        done: has the answer of each, or why there is none.
        arrived: when it was queued, in seconds of the batcher's clock.
        texts: of it, that wait.
        tokens: of those.
        left: True once it has been taken out; what runs of it runs on.
    """

    encodings: Sequence[Encoding]
    done: Future[list[Array]]
    arrived: float
    texts: int = 0
    tokens: int = 0
    left: bool = False
    _answers: list[Array | None] = field(default_factory=list)
    _open: int = 0

    def __post_init__(self) -> None:
        self._answers = [None] * len(self.encodings)
        self._open = len(self.encodings)

    def put(self, index: int, answer: Array) -> None:
        """The answer of one text; the last one makes the request's."""
        self._answers[index] = answer
        self._open -= 1
        if self._open == 0:
            # It may be cancelled at any moment.
            with contextlib.suppress(InvalidStateError):
                self.done.set_result([a for a in self._answers if a is not None])

    def fail(self, error: Exception) -> None:
        """There is no answer."""
        with contextlib.suppress(InvalidStateError):
            self.done.set_exception(error)


# (place in the queue, order of arrival, job, which of its encodings)
Item = tuple[float, int, Job, int]


class Waiting:
    """A queue by places, out of which a whole request is taken in the time of its own texts.

    Attributes:
        tokens: that wait.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._heap: list[Item] = []
        self._order = itertools.count()
        # Items in the heap whose job has left; never more than the others.
        self._left = 0

    def __len__(self) -> int:
        """Texts that wait."""
        return len(self._heap) - self._left

    def put(self, job: Job, places: Iterable[float]) -> None:
        """Queue a request, each of its texts at a place."""
        for index, place in enumerate(places):
            heapq.heappush(self._heap, (place, next(self._order), job, index))
        job.texts, job.tokens = len(job.encodings), sum(map(len, job.encodings))
        self.tokens += job.tokens

    def head(self) -> Item:
        """The text that is next; there has to be one."""
        while self._heap[0][2].left:
            heapq.heappop(self._heap)
            self._left -= 1
        return self._heap[0]

    def pop(self) -> Item:
        """Take the text that is next."""
        self.head()
        item = heapq.heappop(self._heap)
        _, _, job, index = item
        size = len(job.encodings[index])
        job.texts -= 1
        job.tokens -= size
        self.tokens -= size
        return item

    def remove(self, job: Job) -> int:
        """Take all of a request out that has not begun; the number of those texts."""
        if job.left:
            return 0
        job.left = True
        self.tokens -= job.tokens
        self._left += job.texts
        if 2 * self._left > len(self._heap):
            self._heap = [item for item in self._heap if not item[2].left]
            heapq.heapify(self._heap)
            self._left = 0
        return job.texts

    def clear(self, error: Exception) -> None:
        """Fail all that waits."""
        for job in {item[2] for item in self._heap}:
            self.remove(job)
            job.fail(error)
