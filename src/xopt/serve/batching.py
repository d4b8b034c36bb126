"""Requests joined into batches: one thread for each lane of the engine, whoever asks.

A request that finds the engine idle starts at once, on all of it; what comes while a lane works is
joined for the lane that is free next. Lanes end at different times, so nobody waits for the whole
of a large batch, and nothing is held back for others to come.

A text's place in the queue is the moment at which it would be done if its request had the engine
for itself: the arrival plus its own tokens, and those of the request's texts before it, at the
speed seen so far. So a short request behind a long one goes first, and a long one is never passed
by what arrived after that moment (virtual finish times, as in fair queuing; Demers, Keshav and
Shenker, 1989).
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.errors import XoptError
from xopt.packing import Encoding
from xopt.serve.waiting import Item, Job, Waiting

__all__ = ["Batcher", "ClosedError", "FullError", "LateError"]

log = logging.getLogger(__name__)
Array = NDArray[np.float32]

# A lane takes at least so many tokens of what waits, all idle lanes together too: a batch of fewer
# costs more a token.
LANE_TOKENS = 256
# Fewer than these are not worth a lane of their own.
LEAST_TOKENS = 48
# Tokens a second before the first batch was timed, and the share of a new batch in what is known.
FIRST_SPEED, WEIGHT = 5_000.0, 0.1


class FullError(XoptError):
    """The queue holds as many tokens as it may.

    Attributes:
        again_s: when those will have been answered, in seconds from now.
    """

    again_s = 1.0


class LateError(XoptError):
    """A request waited longer than it may."""


class ClosedError(XoptError):
    """The server is stopping."""


class Starts(Protocol):
    """What answers batches; a :class:`~xopt.model.session.Session`."""

    @property
    def lanes(self) -> int:
        """Batches that run side by side, each on its share of the machine."""
        ...

    def start(self, encodings: Sequence[Encoding], *, beside: bool) -> Callable[[], list[Array]]:
        """Start one batch, ``beside`` others or on the whole machine; the answers of each text."""
        ...


@dataclass(frozen=True)
class _Batch:
    items: Sequence[Item]
    tokens: int
    lanes: int


class Batcher:
    """A queue in front of one engine, and the threads that empty it.

    Args:
        engine: what answers; the batcher alone may call it, from as many threads as it has lanes.
        batch_tokens: most tokens of a batch; a longer text runs alone.
        queue_tokens: tokens that may wait.
        timeout_s: a request that waited longer is not answered any more.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        engine: Starts,
        *,
        batch_tokens: int,
        queue_tokens: int,
        timeout_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine, self.clock = engine, clock
        self.lanes = engine.lanes
        self.batch_tokens, self.queue_tokens, self.timeout_s = batch_tokens, queue_tokens, timeout_s
        self.batches = 0
        self.batched_texts = 0
        self.cancelled_texts = 0
        self._queue = Waiting()
        self._speed = FIRST_SPEED
        self._busy = 0
        self._change = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"xopt-batcher-{lane}", daemon=True)
            for lane in range(self.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, encodings: Sequence[Encoding], *, first: bool = False) -> Future[list[Array]]:
        """Queue a request; the future has the answer of each encoding, in order.

        Cancelling the future takes what has not begun out of the queue at once. ``first`` is for
        probes: it goes before all that waits and is never refused, since a full queue is no sign of
        illness.

        Raises:
            FullError: too many tokens wait.
            ClosedError: the batcher is being closed.
        """
        job = Job(encodings, Future(), self.clock())
        sizes = list(map(len, encodings))
        with self._change:
            if self._closing:
                raise ClosedError("This server is stopping.", hint="Ask again.")
            waiting = self.waiting_tokens
            if waiting and waiting + sum(sizes) > self.queue_tokens and not first:
                full = FullError(
                    f"{waiting:,} tokens are waiting; at most {self.queue_tokens:,} may.",
                    hint="Ask again in a moment.",
                )
                full.again_s = waiting / self._speed
                raise full
            ends = itertools.accumulate(sizes)
            own = (job.arrived + end / self._speed for end in ends)
            self._queue.put(job, itertools.repeat(-math.inf, len(sizes)) if first else own)
            if self._busy < self.lanes:
                self._change.notify()
        job.done.add_done_callback(partial(self._cancelled, job))
        return job.done

    def _cancelled(self, job: Job, done: Future[list[Array]]) -> None:
        """Take out a request that nobody waits for any more; what runs of it runs on."""
        if done.cancelled():
            with self._change:
                self.cancelled_texts += self._queue.remove(job)
                self._change.notify_all()

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the queue."""
        return self._queue.tokens

    def close(self, drain_s: float) -> None:
        """Answer what waits for at most ``drain_s`` seconds, then refuse the rest."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        until = time.monotonic() + drain_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._change:
            self._queue.clear(ClosedError("This server has stopped.", hint="Ask again."))
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            answers = self._answer(batch)
            with self._change:
                # Before anybody is told, or who asks again at once would find no idle engine.
                self._busy -= batch.lanes
                for (_, _, job, index), answer in zip(batch.items, answers, strict=True):
                    if isinstance(answer, Exception):
                        self._queue.remove(job)
                        job.fail(answer)
                    else:
                        job.put(index, answer)

    def _next(self) -> _Batch | None:
        """The next batch, as soon as there are a text and a lane for it; None at the end."""
        with self._change:
            while True:
                if self._queue and self._busy < self.lanes:
                    batch = self._take()
                    if batch.items:
                        self._busy += batch.lanes
                        if self._queue:
                            # Others may have a free lane for the rest.
                            self._change.notify()
                        return batch
                elif self._closing and not self._queue:
                    self._change.notify_all()
                    return None
                else:
                    self._change.wait()

    def _take(self) -> _Batch:
        """From the head of the queue the lane's share of it, or all where the engine is idle."""
        free = self.lanes - self._busy
        alone = free == self.lanes and (
            len(self._queue) == 1 or self.waiting_tokens <= LEAST_TOKENS * free
        )
        most = self.batch_tokens
        if not alone and self.lanes > 1:
            share = max(LANE_TOKENS // free, self.waiting_tokens // self.lanes)
            most = min(most, max(LEAST_TOKENS, share))
        taken: list[Item] = []
        tokens = 0
        now = self.clock()
        while self._queue:
            _, _, job, index = self._queue.head()
            size = len(job.encodings[index])
            if now - job.arrived > self.timeout_s:
                self._queue.remove(job)
                job.fail(
                    LateError(
                        f"This request waited longer than {self.timeout_s:g} s.",
                        hint="Ask again later, or with fewer texts.",
                    )
                )
            elif taken and tokens + size > most:
                break
            else:
                taken.append(self._queue.pop())
                tokens += size
        return _Batch(taken, tokens, self.lanes if alone else 1)

    def _answer(self, batch: _Batch) -> list[Array | Exception]:
        """Of each text of a batch the answer, or why there is none."""
        encodings = [job.encodings[index] for _, _, job, index in batch.items]
        beside = batch.lanes < self.lanes
        begun = self.clock()
        try:
            answers = self.engine.start(encodings, beside=beside)()
        except Exception as error:
            if len(encodings) == 1:
                return [error]
            log.warning("a batch of %d failed and is answered by text: %s", len(encodings), error)
            return [self._alone(encoding, beside) for encoding in encodings]
        seen = batch.tokens * self.lanes / batch.lanes / max(self.clock() - begun, 1e-6)
        with self._change:
            self._speed += WEIGHT * (seen - self._speed)
            self.batches += 1
            self.batched_texts += len(encodings)
        return list(answers)

    def _alone(self, encoding: Encoding, beside: bool) -> Array | Exception:
        """A text by itself: one that fails must not fail the others of its batch."""
        try:
            return self.engine.start([encoding], beside=beside)()[0]
        except Exception as error:
            return error
