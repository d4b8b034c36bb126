"""The queue, in front of an engine whose every batch is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from xopt.packing import Encoding
from xopt.serve.batching import Batcher, ClosedError, FullError, LateError
from xopt.serve.pace import Pace

Array = NDArray[np.float32]


class Recorder:
    """An engine that answers the first id of each text, when it is let."""

    ahead = 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.asked = threading.Semaphore(0)

    def start(self, encodings: Sequence[Encoding]) -> Callable[[], list[Array]]:
        self.batches.append([len(e) for e in encodings])
        self.asked.release()
        if any(e.ids[0] == 13 for e in encodings):
            raise ValueError("thirteen")

        def answer() -> list[Array]:
            self.gate.wait()
            return [np.array([e.ids[0]], np.float32) for e in encodings]

        return answer


def text(length: int, first: int = 1) -> Encoding:
    ids = np.full(length, first, np.int32)
    return Encoding(ids, np.zeros_like(ids))


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


def make(engine: Recorder, **changes: float) -> Batcher:
    options = {"batch_tokens": 100, "wait_s": 0.0, "queue_tokens": 10_000, "timeout_s": 60.0}
    return Batcher(engine, **(options | changes))  # type: ignore[arg-type]


@pytest.fixture
def busy(engine: Recorder) -> Iterator[Batcher]:
    """A batcher whose engine has a batch at work, so that everything else waits."""
    batcher = make(engine)
    batcher.submit([text(90)])
    engine.asked.acquire()
    yield batcher
    engine.gate.set()
    batcher.close(60)


def test_answers_come_in_the_order_of_the_request(engine: Recorder) -> None:
    engine.gate.set()
    batcher = make(engine)
    found = batcher.submit([text(n % 7 + 1, n) for n in range(20, 80)]).result()
    assert [float(a[0]) for a in found] == list(range(20, 80))
    batcher.close(60)


def test_requests_that_wait_are_joined_up_to_the_budget(engine: Recorder, busy: Batcher) -> None:
    jobs = [busy.submit([text(30, n)]) for n in range(20, 26)]
    engine.gate.set()
    assert [float(job.result()[0][0]) for job in jobs] == list(range(20, 26))
    assert engine.batches[1:] == [[30, 30, 30], [30, 30, 30]]


def test_a_text_longer_than_the_budget_runs_alone(engine: Recorder, busy: Batcher) -> None:
    job = busy.submit([text(500), text(10)])
    engine.gate.set()
    job.result()
    assert engine.batches[1:] == [[500], [10]]


def test_a_short_request_goes_before_a_long_one_that_came_just_before(
    engine: Recorder,
) -> None:
    now = [0.0]
    batcher = Batcher(
        engine, batch_tokens=100, wait_s=0.0, queue_tokens=10_000, timeout_s=60.0,
        clock=lambda: now[0],
    )  # fmt: skip
    batcher.submit([text(90)])
    engine.asked.acquire()
    long = batcher.submit([text(90, n) for n in range(20, 60)])
    # By itself it would be done after 0.001 s, the first of the long request after 0.018 s and its
    # third after 0.054 s, at 5,000 tokens a second.
    now[0] = 0.03
    short = batcher.submit([text(5)])
    engine.gate.set()
    long.result()
    short.result()
    batcher.close(60)
    assert engine.batches[1:4] == [[90, 5], [90], [90]]


def test_one_that_fails_does_not_fail_its_batch(engine: Recorder, busy: Batcher) -> None:
    jobs = [busy.submit([text(10, n)]) for n in (12, 13, 14)]
    engine.gate.set()
    assert float(jobs[0].result()[0][0]) == 12
    assert float(jobs[2].result()[0][0]) == 14
    with pytest.raises(ValueError, match="thirteen"):
        jobs[1].result()


def test_a_full_queue_refuses_and_what_waits_too_long_is_told(engine: Recorder) -> None:
    now = [0.0]
    batcher = Batcher(
        engine, batch_tokens=100, wait_s=0.0, queue_tokens=200, timeout_s=1.0, clock=lambda: now[0]
    )
    batcher.submit([text(90)])
    engine.asked.acquire()
    late = batcher.submit([text(150)])
    with pytest.raises(FullError, match="150 tokens are waiting; at most 200"):
        batcher.submit([text(60)])
    assert batcher.retry_after_s == pytest.approx(150 / 5_000)
    now[0] = 1.5
    engine.gate.set()
    with pytest.raises(LateError, match="waited longer than 1 s"):
        late.result()
    batcher.close(60)
    assert batcher.waiting_tokens == 0


def test_a_cancelled_request_is_not_answered(engine: Recorder, busy: Batcher) -> None:
    gone = busy.submit([text(50)])
    kept = busy.submit([text(20)])
    assert gone.cancel()
    engine.gate.set()
    kept.result()
    assert engine.batches[1:] == [[20]]


def test_closing_finishes_what_waits_and_refuses_what_comes(
    engine: Recorder, busy: Batcher
) -> None:
    waiting = busy.submit([text(20)])
    closer = threading.Thread(target=busy.close, args=(60,))
    closer.start()
    while not busy._closing:
        closer.join(0.001)
    with pytest.raises(ClosedError):
        busy.submit([text(20)])
    engine.gate.set()
    closer.join()
    assert len(waiting.result()) == 1


def test_what_comes_while_the_engine_works_is_one_batch_behind_it(engine: Recorder) -> None:
    now = [0.0]
    batcher = Batcher(
        engine, batch_tokens=100, wait_s=0.0, queue_tokens=10_000, timeout_s=1e9,
        clock=lambda: now[0],
    )  # fmt: skip
    batcher._pace.learn(10, spent=1e6, waited=1e6)
    batcher.submit([text(10)])
    engine.asked.acquire()
    # For 70 % of a million seconds it takes in what comes, and does not start the first alone.
    jobs = [batcher.submit([text(20, n)]) for n in range(20, 24)]
    assert not engine.asked.acquire(timeout=0.05)
    # A whole batch is not kept back, though the one at work has not ended.
    jobs.append(batcher.submit([text(20, 24)]))
    engine.asked.acquire()
    assert engine.batches == [[10], [20] * 5]
    engine.gate.set()
    assert [float(job.result()[0][0]) for job in jobs] == list(range(20, 25))
    batcher.close(60)


def test_the_time_of_a_batch_is_that_of_its_size() -> None:
    pace = Pace()
    assert pace.expect(40) == 0.0
    for _ in range(50):
        pace.learn(8, spent=0.008, waited=0.004)
        pace.learn(800, spent=0.08, waited=0.02)
    assert pace.expect(10) == pytest.approx(0.01)
    assert pace.expect(1000) == pytest.approx(0.1)
    assert pace.expect(100) == 0.0


def test_a_time_that_is_far_too_long_is_found_out() -> None:
    # Else each batch would be let go on for as long as was thought, and so seem to take it.
    pace = Pace()
    pace.learn(800, spent=8.0, waited=8.0)
    for _ in range(30):
        rested = 0.7 * pace.expect(800)
        spent = max(rested, 0.08)
        pace.learn(800, spent, spent - rested)
    assert pace.expect(800) == pytest.approx(0.08, rel=0.2)
