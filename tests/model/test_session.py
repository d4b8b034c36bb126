"""A session: the order of answers, whose time is the engine's, and what is left behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.openvino import OpenVinoEngine
from xopt.engines.part import Pending
from xopt.errors import BuildError, InputError
from xopt.model.session import Session
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

Bundles = Callable[..., Bundle]


def texts(count: int) -> list[Encoding]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 60, count)
    return [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]


@pytest.fixture
def session(bundles: Bundles) -> Any:
    with Session.open(bundles("encoder"), batch_tokens=512, threads=2) as opened:
        yield opened


def test_answers_are_those_of_each_text_alone(session: Session) -> None:
    given = texts(400)
    seen = set()
    for index, encoding, answer in session.answers(400, lambda t, a, b: given[a:b]):
        assert encoding is given[index]
        seen.add(index)
        if index % 40 == 0:
            alone = session.engine.run(pack([encoding], first_position=2))["embeddings"][0]
            np.testing.assert_allclose(answer, alone, atol=1e-5)
    assert seen == set(range(400))
    assert session.usage.sentences == 400
    assert session.usage.tokens == sum(session.usage.lengths) == sum(len(e) for e in given)


def test_items_of_several_parts_come_whole_and_in_order(session: Session) -> None:
    given = texts(600)
    items = [given[2 * i : 2 * i + 2] if i % 3 else given[2 * i : 2 * i + 1] for i in range(300)]
    flat = {}
    for index, parts, answers in session.parts(300, lambda t, a, b: items[a:b]):
        assert parts is items[index]
        assert len(answers) == len(parts)
        flat[index] = answers
    assert list(flat) == list(range(300))
    for index in (1, 150, 299):
        for part, answer in zip(items[index], flat[index], strict=True):
            alone = session.engine.run(pack([part], first_position=2))["embeddings"][0]
            np.testing.assert_allclose(answer, alone, atol=1e-5)


def test_the_engines_time_is_not_its_callers_or_the_tokenizers(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock for each thread, which only work moves on.
    clock = threading.local()
    runs, reads = [], []

    def now() -> float:
        return getattr(clock, "now", 0.0)

    def spend(seconds: float) -> None:
        clock.now = now() + seconds

    class Timed(Engine):
        def _run(self, part: PackedBatch) -> np.ndarray:
            runs.append(part.sentences)
            spend(1.0)
            return np.zeros((part.sentences, self.signature.width), np.float32)

    given = texts(300)

    def slowly(tokenizer: Tokenizer, start: int, stop: int) -> list[Encoding]:
        reads.append(stop - start)
        spend(4.0)
        return given[start:stop]

    monkeypatch.setattr(time, "perf_counter", now)
    with Session.of(Timed(bundles("encoder")), batch_tokens=512) as session:
        for _ in session.answers(300, slowly):
            spend(10.0)
    assert sum(runs) == sum(reads) == 300
    assert session.usage.engine_s == len(runs)
    assert session.usage.tokenization_s == 4.0 * len(reads)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_an_error_that_names_the_example(
    session: Session, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    given = texts(40)
    right = session.engine.submit

    def spoilt(batch: Any, **options: Any) -> Pending:
        found = right(batch)()
        for name, values in found.items():
            values[batch.lengths == len(given[17]), 3] = bad
            assert name == "embeddings"
        return Pending([], lambda: found)

    monkeypatch.setattr(session.engine, "submit", spoilt)
    first = min(i for i, e in enumerate(given) if len(e) == len(given[17]))
    with pytest.raises(BuildError, match=f"Example {first}: .* no numbers"):
        list(session.answers(40, lambda t, a, b: given[a:b]))
    with pytest.raises(BuildError, match="no numbers"):
        list(session.parts(40, lambda t, a, b: [[e] for e in given[a:b]]))


def test_a_reader_that_stops_leaves_nothing_running(session: Session) -> None:
    given = texts(300)
    assert isinstance(session.engine, OpenVinoEngine)
    for _ in range(3):
        stream = session.answers(300, lambda t, a, b: given[a:b])
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert not session.engine._running
    assert len(list(session.answers(300, lambda t, a, b: given[a:b]))) == 300


def test_a_part_that_fails_does_not_spoil_the_next_batch(
    session: Session,
) -> None:
    engine = session.engine
    assert isinstance(engine, OpenVinoEngine)

    class Failing:
        def start_async(self, *args: Any, **options: Any) -> None:
            """Begins, and fails later."""

        def wait(self) -> None:
            raise RuntimeError("out of memory")

    good = pack(texts(12), first_position=2)
    expected = engine.run(good)["embeddings"]
    streams = engine.streams if len(engine.plan(good)) > 1 else 1
    engine._compiled((False, streams)).idle.append(Failing())
    late = engine.submit(good)
    with pytest.raises(RuntimeError, match="out of memory"):
        late()
    assert not engine._running
    assert np.array_equal(engine.run(good)["embeddings"], expected)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
# Python 3.12 warns of what is tested.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_refuses_a_session_that_was_opened_before_it(session: Session) -> None:
    given = texts(40)
    reading, writing = os.pipe()
    # As where another thread tokenizes and asks the engine at the moment of the fork.
    with session._engine_lock, session._tokenizer_lock:
        child = os.fork()
        if not child:
            # Where it waits for a lock that nobody gives back.
            signal.alarm(20)
            try:
                for call in (
                    lambda: list(session.answers(40, lambda t, a, b: given[a:b])),
                    lambda: session.start(given[:1]),
                    session.warm_up,
                    lambda: session.encode(lambda t: t),
                ):
                    with pytest.raises(InputError, match="before the process was forked"):
                        call()
                session.close()
                os.write(writing, b"refused")
            finally:
                os._exit(0)
    os.close(writing)
    assert os.read(reading, 100) == b"refused"
    os.close(reading)
    os.waitpid(child, 0)
    assert len(list(session.answers(40, lambda t, a, b: given[a:b]))) == 40
