"""The queue, in front of an engine whose every batch is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from xopt.packing import Encoding
from xopt.serve.batching import Batcher, ClosedError, FullError, LateError

Array = NDArray[np.float32]


class Recorder:
    """An engine that answers the first id of each text, when it is let."""

    lanes = 1

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.beside: list[bool] = []
        self.gate = threading.Event()
        # A batch with this text has a gate of its own.
        self.own: dict[int, threading.Event] = {}
        self.asked = threading.Semaphore(0)

    def start(self, encodings: Sequence[Encoding], *, beside: bool) -> Callable[[], list[Array]]:
        self.batches.append([len(e) for e in encodings])
        self.beside.append(beside)
        self.asked.release()
        if any(e.ids[0] == 13 for e in encodings):
            raise ValueError("thirteen")

        def answer() -> list[Array]:
            self.gate.wait()
            for encoding in encodings:
                if encoding.ids[0] in self.own:
                    self.own[encoding.ids[0]].wait()
            return [np.array([e.ids[0]], np.float32) for e in encodings]

        return answer


def text(length: int, first: int = 1) -> Encoding:
    ids = np.full(length, first, np.int32)
    return Encoding(ids, np.zeros_like(ids))


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


def make(engine: Recorder, **changes: float) -> Batcher:
    options = {"batch_tokens": 100, "queue_tokens": 10_000, "timeout_s": 60.0}
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
        engine, batch_tokens=100, queue_tokens=10_000, timeout_s=60.0,
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
        engine, batch_tokens=100, queue_tokens=200, timeout_s=1.0, clock=lambda: now[0]
    )
    batcher.submit([text(90)])
    engine.asked.acquire()
    late = batcher.submit([text(150)])
    with pytest.raises(FullError, match="150 tokens are waiting; at most 200") as full:
        batcher.submit([text(60)])
    assert full.value.again_s == pytest.approx(150 / 5_000)
    now[0] = 1.5
    engine.gate.set()
    with pytest.raises(LateError, match="waited longer than 1 s"):
        late.result()
    batcher.close(60)
    assert batcher.waiting_tokens == 0


def test_a_probe_goes_before_all_that_waits_and_is_not_refused(engine: Recorder) -> None:
    batcher = Batcher(engine, batch_tokens=100, queue_tokens=200, timeout_s=60.0)
    batcher.submit([text(90)])
    engine.asked.acquire()
    batcher.submit([text(70)] * 2)
    with pytest.raises(FullError):
        batcher.submit([text(80)])
    probe = batcher.submit([text(80)], first=True)
    engine.gate.set()
    probe.result()
    batcher.close(60)
    assert engine.batches == [[90], [80], [70], [70]]
    assert batcher.waiting_tokens == 0


def test_a_cancelled_request_is_not_answered(engine: Recorder, busy: Batcher) -> None:
    gone = busy.submit([text(50)])
    kept = busy.submit([text(20)])
    assert gone.cancel()
    # At once, not when its turn comes.
    assert (busy.waiting_tokens, busy.cancelled_texts) == (20, 1)
    engine.gate.set()
    kept.result()
    assert engine.batches[1:] == [[20]]


def test_what_has_begun_of_a_cancelled_request_is_finished(engine: Recorder, busy: Batcher) -> None:
    gone = busy.submit([text(60, n) for n in range(20, 24)])
    engine.own[20] = threading.Event()
    engine.gate.set()
    engine.asked.acquire()
    kept = busy.submit([text(10, 30)])
    assert gone.cancel()
    assert (busy.waiting_tokens, busy.cancelled_texts) == (10, 3)
    engine.own[20].set()
    assert float(kept.result()[0][0]) == 30
    assert engine.batches[1:] == [[60], [10]]


def test_a_queue_that_many_leave_keeps_nothing_of_them(busy: Batcher) -> None:
    for round_ in range(50):
        for job in [busy.submit([text(9)] * 10) for _ in range(10)]:
            assert job.cancel()
        assert busy.waiting_tokens == 0, round_
        assert len(busy._queue._heap) == 0
    kept = [busy.submit([text(2)] * 2) for _ in range(100)]
    for job in kept[:-1]:
        job.cancel()
        assert len(busy._queue._heap) <= 2 * len(busy._queue)
    assert (busy.waiting_tokens, busy.cancelled_texts) == (4, 5_000 + 198)


def test_one_text_that_fails_takes_the_rest_of_its_request_out(
    engine: Recorder, busy: Batcher
) -> None:
    failing = busy.submit([text(60, 13), *[text(60, 20)] * 3])
    other = busy.submit([text(60, 21)])
    engine.gate.set()
    with pytest.raises(ValueError, match="thirteen"):
        failing.result()
    other.result()
    assert engine.batches[1:] == [[60], [60]]


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


@pytest.fixture
def lanes(engine: Recorder) -> Recorder:
    """The engine with two lanes, whose batches end when each is let."""
    engine.lanes = 2
    return engine


def test_one_text_has_the_idle_engine_for_itself(lanes: Recorder) -> None:
    batcher = make(lanes, batch_tokens=4096)
    first = batcher.submit([text(90)])
    lanes.asked.acquire()
    # It starts at once, and what comes meanwhile is spread over the lanes when it is done.
    later = batcher.submit([text(200, n) for n in range(20, 24)])
    assert lanes.batches == [[90]]
    lanes.gate.set()
    first.result()
    assert [float(a[0]) for a in later.result()] == [20, 21, 22, 23]
    batcher.close(60)
    assert lanes.batches == [[90], [200, 200], [200], [200]]
    # The last may find the other lane free again, or not.
    assert lanes.beside[:3] == [False, True, True]


def test_a_lane_takes_what_comes_while_the_other_works(lanes: Recorder) -> None:
    lanes.gate.set()
    lanes.own = {20: threading.Event(), 21: threading.Event()}
    batcher = make(lanes, batch_tokens=4096)
    alone = batcher.submit([text(100, 20)])
    lanes.asked.acquire()
    long, beside = batcher.submit([text(100, 21)]), batcher.submit([text(100, 22)])
    lanes.own[20].set()
    alone.result()
    # The other lane is free, whatever the long one takes.
    assert float(beside.result()[0][0]) == 22
    assert not long.done()
    for n in range(30, 40):
        assert float(batcher.submit([text(40, n)]).result()[0][0]) == n
    assert not long.done()
    lanes.own[21].set()
    long.result()
    batcher.close(60)
    assert lanes.batches == [[100], [100], [100]] + [[40]] * 10
    assert lanes.beside == [False] + [True] * 12


def test_a_lane_takes_a_batch_that_is_worth_it(lanes: Recorder) -> None:
    lanes.gate.set()
    lanes.own = {20: threading.Event(), 21: threading.Event()}
    batcher = make(lanes, batch_tokens=4096)
    both = batcher.submit([text(100, 20), text(100, 21)])
    lanes.asked.acquire()
    lanes.asked.acquire()
    waiting = [batcher.submit([text(40, n)]) for n in range(30, 40)]
    assert lanes.batches == [[100], [100]]
    lanes.own[20].set()
    assert [float(job.result()[0][0]) for job in waiting] == list(range(30, 40))
    # 256 tokens at least, though half of what waits is less; the other lane still works.
    assert lanes.batches[2:] == [[40] * 6, [40] * 4]
    lanes.own[21].set()
    both.result()
    batcher.close(60)
    assert all(lanes.beside)


def test_a_job_whose_texts_are_in_both_lanes_is_answered_once(lanes: Recorder) -> None:
    lanes.gate.set()
    batcher = make(lanes, batch_tokens=60)
    jobs = [batcher.submit([text(50, 20 + n) for n in range(9)]) for _ in range(20)]
    for job in jobs:
        assert [float(a[0]) for a in job.result(timeout=60)] == list(range(20, 29))
    batcher.close(60)
    assert batcher.batched_texts == 180
    assert batcher.waiting_tokens == 0
