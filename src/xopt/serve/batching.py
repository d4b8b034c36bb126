"""Requests joined into batches: one thread keeps the engine busy, whoever asks.

A text's place in the queue is the moment at which it would be done if its request had the engine
for itself: the arrival plus its own tokens, and those of the request's texts before it, at the
speed seen so far. So a short request behind a long one goes first, and a long one is never passed
by what arrived after that moment (virtual finish times, as in fair queuing; Demers, Keshav and
Shenker, 1989).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.errors import XoptError
from xopt.packing import Encoding
from xopt.serve.pace import Pace

__all__ = ["Batcher", "ClosedError", "FullError", "LateError"]

log = logging.getLogger(__name__)
Array = NDArray[np.float32]

# Share of the time that the engine will still work for which the next batch takes more in: what
# comes is joined, and the batch stands behind the one at work before the engine is free.
BEHIND = 0.7


class FullError(XoptError):
    """The queue holds as many tokens as it may."""


class LateError(XoptError):
    """A request waited longer than it may."""


class ClosedError(XoptError):
    """The server is stopping."""


class Starts(Protocol):
    """What answers batches; a :class:`~xopt.model.session.Session`."""

    @property
    def ahead(self) -> int:
        """Batches that are worth starting before the answer of the first is taken."""
        ...

    def start(self, encodings: Sequence[Encoding]) -> Callable[[], list[Array]]:
        """Start one batch; what is returned waits for the answer of each encoding."""
        ...


@dataclass
class _Job:
    """A request: its encodings, and what is known of their answers."""

    encodings: Sequence[Encoding]
    done: Future[list[Array]]
    arrived: float
    answers: list[Array | None] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.encodings)
        self.left = len(self.encodings)

    def put(self, index: int, answer: Array) -> None:
        self.answers[index] = answer
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result([a for a in self.answers if a is not None])

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


# (place in the queue, order of arrival, job, which of its encodings)
_Item = tuple[float, int, _Job, int]


@dataclass(frozen=True)
class _Running:
    items: Sequence[_Item]
    answer: Callable[[], list[Array]]
    tokens: int
    begun: float


class Batcher:
    """A queue in front of one engine, and the thread that empties it.

    Args:
        engine: what answers; the batcher alone may call it.
        batch_tokens: most tokens of a batch; a longer text runs alone.
        wait_s: how long the first request of a batch waits for others while the engine is idle;
            while it works, the next batch takes in what comes until shortly before its end.
        queue_tokens: tokens that may wait.
        timeout_s: a request that waited longer is not answered any more.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        engine: Starts,
        *,
        batch_tokens: int,
        wait_s: float,
        queue_tokens: int,
        timeout_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine, self.clock = engine, clock
        self.batch_tokens, self.wait_s = batch_tokens, wait_s
        self.queue_tokens, self.timeout_s = queue_tokens, timeout_s
        self.waiting_tokens = 0
        self.batches = 0
        self.batched_texts = 0
        self._queue: list[_Item] = []
        self._order = itertools.count()
        self._pace = Pace()
        self._freed = 0.0
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="xopt-batcher", daemon=True)
        self._thread.start()

    def submit(self, encodings: Sequence[Encoding]) -> Future[list[Array]]:
        """Queue a request; the future has the answer of each encoding, in order.

        Cancelling the future takes what has not begun out of the queue.

        Raises:
            FullError: too many tokens wait.
            ClosedError: the batcher is being closed.
        """
        job = _Job(encodings, Future(), self.clock())
        tokens = sum(map(len, encodings))
        with self._change:
            if self._closing:
                raise ClosedError("This server is stopping.", hint="Ask again.")
            if self.waiting_tokens and self.waiting_tokens + tokens > self.queue_tokens:
                raise FullError(
                    f"{self.waiting_tokens:,} tokens are waiting; at most {self.queue_tokens:,} "
                    "may.",
                    hint="Ask again in a moment.",
                )
            self.waiting_tokens += tokens
            ahead = 0
            for index, encoding in enumerate(encodings):
                ahead += len(encoding)
                place = job.arrived + ahead / self._pace.speed
                heapq.heappush(self._queue, (place, next(self._order), job, index))
            self._change.notify()
        return job.done

    @property
    def retry_after_s(self) -> float:
        """When the tokens that wait now will have been answered, at the speed seen so far."""
        return self.waiting_tokens / self._pace.speed

    def close(self, drain_s: float) -> None:
        """Answer what waits for at most ``drain_s`` seconds, then refuse the rest."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(drain_s)
        with self._change:
            for *_, job, _index in self._queue:
                job.fail(ClosedError("This server has stopped.", hint="Ask again."))
            self._queue.clear()
            self._change.notify()
        self._thread.join()

    def _work(self) -> None:
        running: deque[_Running] = deque()
        while True:
            items = self._next(running)
            if items:
                started = self._start(items)
                if started is not None:
                    running.append(started)
            elif not running:
                return
            if running and (len(running) > self.engine.ahead or not items):
                self._finish(running.popleft())

    def _next(self, running: Collection[_Running]) -> list[_Item]:
        """The items of the next batch; none where the engine should be waited for, or the end."""
        with self._change:
            if running:
                begun = max(self._freed, min(r.begun for r in running))
                work = sum(self._pace.expect(r.tokens) for r in running)
                self._gather(begun + BEHIND * work)
            else:
                while not self._queue and not self._closing:
                    self._change.wait()
                first = min((job.arrived for *_, job, _ in self._queue), default=0.0)
                self._gather(first + self.wait_s)
            return self._take()

    def _gather(self, until: float) -> None:
        """Wait for others to join, unless there is a whole batch or the server stops."""
        while self.waiting_tokens < self.batch_tokens and not self._closing:
            left = until - self.clock()
            if left <= 0 or not self._change.wait(left):
                return

    def _take(self) -> list[_Item]:
        """From the head of the queue, as many tokens as a batch takes."""
        taken: list[_Item] = []
        tokens = 0
        now = self.clock()
        while self._queue:
            _, _, job, index = item = self._queue[0]
            size = len(job.encodings[index])
            if job.done.done():
                pass
            elif now - job.arrived > self.timeout_s:
                job.fail(
                    LateError(
                        f"This request waited longer than {self.timeout_s:g} s.",
                        hint="Ask again later, or with fewer texts.",
                    )
                )
            elif taken and tokens + size > self.batch_tokens:
                break
            else:
                taken.append(item)
                tokens += size
            heapq.heappop(self._queue)
            self.waiting_tokens -= size
        return taken

    def _start(self, items: Sequence[_Item]) -> _Running | None:
        encodings = [job.encodings[index] for _, _, job, index in items]
        tokens = sum(map(len, encodings))
        begun = self.clock()
        try:
            return _Running(items, self.engine.start(encodings), tokens, begun)
        except Exception as error:
            self._alone(items, error)
            return None

    def _finish(self, running: _Running) -> None:
        asked = self.clock()
        try:
            answers = running.answer()
        except Exception as error:
            self._alone(running.items, error)
            return
        now = self.clock()
        # It may have stood behind another.
        self._pace.learn(running.tokens, now - max(running.begun, self._freed), now - asked)
        self._freed = now
        self.batches += 1
        self.batched_texts += len(running.items)
        for (_, _, job, index), answer in zip(running.items, answers, strict=True):
            job.put(index, answer)

    def _alone(self, items: Sequence[_Item], error: Exception) -> None:
        """Each item by itself: one that fails must not fail the others of its batch."""
        if len(items) == 1:
            items[0][2].fail(error)
            return
        log.warning("a batch of %d failed and is answered one by one: %s", len(items), error)
        for item in items:
            _, _, job, index = item
            if job.done.done():
                continue
            try:
                job.put(index, self.engine.start([job.encodings[index]])()[0])
            except Exception as own:
                job.fail(own)
