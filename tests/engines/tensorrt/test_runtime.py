"""The engine of the target ``tensorrt`` over a fake GPU and a fake TensorRT."""

from __future__ import annotations

import platform
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.made import FACTS
from tests.engines.tensorrt.fake_cuda import FakeDriver, fake_tensorrt

from xopt.artifacts import Bundle, write_manifest
from xopt.engines.tensorrt.compat import Machine, RunsOn
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.engines.tensorrt.runtime import TensorRtEngine
from xopt.errors import InputError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack

PROFILES = [LengthProfile(8, 32, 128), LengthProfile(4, 128, 256)]
SHAPES: dict[str, list[Any]] = {"input_ids": ["T"], "cu_seqlens": ["B_plus_1"]}
MACHINE = Machine("tensorrt", "11.4.0.106", 89, "Fake GPU", platform.system(), platform.machine())


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def trt(driver: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_tensorrt(driver, [profile.shapes(SHAPES) for profile in PROFILES])
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


def make_bundle(folder: Path, runs_on: RunsOn, content: bytes = b"plan") -> Bundle:
    folder.mkdir()
    (folder / "engine.trt").write_bytes(content)
    signature = {
        "inputs": ["input_ids", "cu_seqlens"], "output": "embeddings", "per_token": False,
        "width": 2, "max_tokens": 128, "first_position": 2, "vocabulary": 5000, "types": 1,
    }  # fmt: skip
    facts = FACTS | {
        "target": "tensorrt",
        "precision": "int8",
        "signature": signature,
        "engine": {
            "profiles": [asdict(profile) for profile in PROFILES],
            "inputs": SHAPES,
            "indices": "int32",
            "runs_on": runs_on.manifest(),
        },
    }
    write_manifest(folder, "bundle", "0" * 64, facts)
    return Bundle.open(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, "none"))


def batch_of(lengths: list[int], seed: int = 0) -> PackedBatch:
    generator = np.random.default_rng(seed)
    items = [
        Encoding(generator.integers(4, 4000, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    return pack(items, first_position=2)


def expected(batch: PackedBatch) -> Any:
    parts = np.split(batch.input_ids, batch.cu_seqlens[1:-1])
    return np.array([[part.sum(), len(part)] for part in parts], np.float32)


@pytest.mark.parametrize(
    "lengths", [[1], [3, 17, 8], [128], [32] * 8, [100, 5], [30] * 40, [128] * 9, [128, 1] * 6]
)
def test_answers_and_leaves_nothing_behind(
    bundle: Bundle, trt: Any, driver: Any, lengths: list[int]
) -> None:
    batch = batch_of(lengths)
    with TensorRtEngine(bundle, driver=driver) as engine:
        for _ in range(3):
            assert (engine.run(batch)["embeddings"] == expected(batch)).all()
    assert not driver.memory
    assert not driver.pinned
    assert not driver.graphs
    assert driver.streams == 0


def test_a_shape_is_captured_in_its_second_run(bundle: Bundle, trt: Any, driver: Any) -> None:
    with TensorRtEngine(bundle, driver=driver) as engine:
        for seed, launches in enumerate((0, 1, 2)):
            batch = batch_of([3, 17, 8], seed)
            assert (engine.run(batch)["embeddings"] == expected(batch)).all()
            assert driver.launches == launches
        assert engine.describe()["graphs"] == 1
        assert engine.prepare_s > 0
        [made] = trt.engines
        assert len(made.contexts) == 1
        # Another batch of the same bucket, of other lengths.
        other = batch_of([5, 9, 15])
        assert (engine.run(other)["embeddings"] == expected(other)).all()
        assert driver.launches == 3


def test_the_least_recently_used_shape_is_dropped(bundle: Bundle, trt: Any, driver: Any) -> None:
    with TensorRtEngine(bundle, driver=driver, programs=2) as engine:
        for lengths in ([1], [20], [100], [1], [20]):
            batch = batch_of(lengths)
            assert (engine.run(batch)["embeddings"] == expected(batch)).all()
        # Two shapes with a block of inputs and an output each, and the scratch memory.
        assert len(driver.memory) == 2 * 2 + 1
        # One copy for each batch, through memory that they share.
        assert driver.uploads == 5
        assert len(driver.pinned) == 1


@pytest.mark.parametrize("sessions", [1, 2, 4])
def test_threads_have_contexts_of_their_own(
    bundle: Bundle, trt: Any, driver: Any, sessions: int
) -> None:
    failures: list[Any] = []
    with TensorRtEngine(bundle, driver=driver, sessions=sessions) as engine:
        together = threading.Barrier(3)

        def work(seed: int) -> None:
            together.wait(timeout=60)
            for number in range(20):
                batch = batch_of([3 + seed, 17, 8 + number], seed)
                try:
                    right = (engine.run(batch)["embeddings"] == expected(batch)).all()
                except Exception as error:
                    failures.append(error)
                    return
                if not right:
                    failures.append((seed, number))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        [made] = trt.engines
        assert made.overlaps == 0
        scratch = {context.scratch for context in made.contexts}
        assert 1 <= len(scratch) <= min(sessions, 3)
        assert len(engine.pool.sessions) == len(scratch)
    assert not driver.memory
    assert driver.streams == 0


def test_a_thread_for_every_request_costs_one_session(
    bundle: Bundle, trt: Any, driver: Any
) -> None:
    batch = batch_of([3, 17])
    answers: list[Any] = []
    with TensorRtEngine(bundle, driver=driver) as engine:
        for _ in range(20):
            thread = threading.Thread(target=lambda: answers.append(engine.run(batch)))
            thread.start()
            thread.join()
        assert len(engine.pool.sessions) == 1
        # The inputs, an output, and the scratch memory.
        assert len(driver.memory) == 3
        assert driver.launches > 0
    assert all((a["embeddings"] == expected(batch)).all() for a in answers)
    assert len(answers) == 20


def test_a_session_that_did_not_open_leaves_its_place(
    bundle: Bundle, trt: Any, driver: Any
) -> None:
    batch = batch_of([3, 17])
    with TensorRtEngine(bundle, driver=driver, sessions=1) as engine:
        driver.left = 0
        with pytest.raises(UnsupportedError, match="memory is full"):
            engine.run(batch)
        driver.left = None
        assert (engine.run(batch)["embeddings"] == expected(batch)).all()


@pytest.mark.parametrize("step", ["cuStreamEndCapture", "cuGraphInstantiateWithFlags", "submit"])
def test_what_cannot_be_captured_runs_all_the_same(
    bundle: Bundle, trt: Any, driver: Any, step: str
) -> None:
    driver.failing.add(step)
    with TensorRtEngine(bundle, driver=driver) as engine:
        for seed in range(4):
            batch = batch_of([3, 17, 8], seed)
            assert (engine.run(batch)["embeddings"] == expected(batch)).all()
        assert driver.captures == 1
        assert driver.launches == 0
        assert engine.describe()["graphs"] == 0
        driver.failing.clear()
        for _ in range(3):
            assert (engine.run(batch)["embeddings"] == expected(batch)).all()
        # It is not tried again.
        assert driver.captures == 1
    assert not driver.memory
    assert not driver.pinned
    assert not driver.graphs
    assert driver.streams == 0


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_full_gpu_costs_nothing_that_was_not_used(
    bundle: Bundle, trt: Any, driver: Any, left: int
) -> None:
    """Scratch memory, the inputs and the output: each may be the one that finds no room."""
    batch = batch_of([3, 17, 8])
    with TensorRtEngine(bundle, driver=driver) as engine:
        driver.left = left
        with pytest.raises(UnsupportedError, match="memory is full"):
            engine.run(batch)
        assert len(driver.memory) == min(left, 1)
        driver.left = None
        assert (engine.run(batch)["embeddings"] == expected(batch)).all()
    assert not driver.memory
    assert driver.streams == 0


def test_no_memory_that_can_be_locked_is_an_error(bundle: Bundle, trt: Any, driver: Any) -> None:
    batch = batch_of([3, 17, 8])
    with TensorRtEngine(bundle, driver=driver) as engine:
        driver.failing.add("cuMemHostAlloc")
        with pytest.raises(UnsupportedError, match="memory is full"):
            engine.run(batch)
        driver.failing.clear()
        assert (engine.run(batch)["embeddings"] == expected(batch)).all()
        assert len(driver.memory) == 3
    assert not driver.memory
    assert not driver.pinned


def test_the_callers_buffer_is_filled(bundle: Bundle, trt: Any, driver: Any) -> None:
    batch = batch_of([3, 17])
    with TensorRtEngine(bundle, driver=driver) as engine:
        answer = np.full((2, 2), np.nan, np.float32)
        engine.run_into(batch, answer)
        assert (answer == expected(batch)).all()
        held = [engine.run(batch)["embeddings"] for _ in range(2)]
        engine.run(batch_of([3, 17], seed=9))
        assert all((array == expected(batch)).all() for array in held)
        for wrong in (
            np.empty((3, 2), np.float32),
            np.empty((2, 2), np.float64),
            np.empty((2, 4), np.float32)[:, ::2],
        ):
            with pytest.raises(InputError, match="array for the answer"):
                engine.run_into(batch, wrong)
