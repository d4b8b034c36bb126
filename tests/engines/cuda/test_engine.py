"""The CUDA engine's programs, and what it refuses."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton
from tests.engines.cuda.made import (
    INTERPRETED,
    REPOSITORY,
    Build,
    answer,
    encodings,
    open_here,
    ragged,
)

from xopt.artifacts import Bundle
from xopt.engines import cuda_programs
from xopt.engines.base import open_engine
from xopt.engines.cuda import open_device
from xopt.engines.cuda_buckets import Buckets
from xopt.engines.cuda_weights import HEAD_DIMS, Facts, read_facts, write_weights
from xopt.errors import ArtifactError, InputError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack


def test_shapes_are_kept_and_dropped(made: Build) -> None:
    checkpoint, bundle = made("xlmr-layer0", "fp16")
    with open_here(bundle, programs=2) as engine:
        first = answer(engine, ragged(checkpoint, [5]))
        kept = first.copy()
        answer(engine, ragged(checkpoint, [40]))
        answer(engine, ragged(checkpoint, [6]))
        answer(engine, ragged(checkpoint, [3, 4, 5]))
        last = [engine.buckets.find(6, 1), engine.buckets.find(12, 3)]
        assert list(engine.programs.programs) == last
        np.testing.assert_array_equal(first, kept)
        facts = engine.describe()
    assert facts["dtype"] == "float16"
    assert bool(facts["graphs"]) is not INTERPRETED


def test_a_batch_beyond_the_largest_bucket_runs_in_parts(
    made: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle = made("bert-tag", "int8")
    items = encodings([9, 30, 2, 14, 25], seed=3)
    with open_here(bundle) as engine:
        whole = answer(engine, pack(items, first_position=0))
        small = Buckets(((8, 1), (32, 2)))
        monkeypatch.setattr(engine, "buckets", small)
        monkeypatch.setattr(engine.programs, "buckets", small)
        parts = answer(engine, pack(items, first_position=0))
    assert np.abs(parts - whole).max() <= 1e-6


def test_a_warm_engine_captures_nothing_more(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bucket is captured once, the largest first, and whatever comes finds it."""
    _, bundle = made("xlmr-layer0", "fp16")
    captures: list[tuple[int, int]] = []

    class Captured:
        def __init__(self, tokens: int, sentences: int, *arguments: Any) -> None:
            self.key, self.graph, self.runs = (tokens, sentences), None, 0

        def run(self, batch: PackedBatch, rows: int, memory: Any) -> Any:
            assert batch.tokens <= self.key[0]
            assert batch.sentences <= self.key[1]
            if self.runs == 1:
                self.graph = object()
                captures.append(self.key)
            self.runs += 1
            return np.zeros((rows, engine.signature.width), np.float32)

    monkeypatch.setattr(cuda_programs, "Program", Captured)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    with open_here(bundle) as engine:
        buckets = engine.buckets
        programs = cuda_programs.Programs(lambda ids: None, torch.device("cuda"), 1, 64, buckets)
        monkeypatch.setattr(engine, "programs", programs)
        for _ in range(2):
            engine.warm_up()
            assert captures == sorted(buckets.shapes, reverse=True)
        generator = np.random.default_rng(0)
        for _ in range(50):
            lengths = generator.integers(1, 60, generator.integers(1, 300)).tolist()
            engine.run(pack(encodings(lengths), first_position=2))
        assert len(captures) == len(buckets.shapes)
        assert sorted(programs.captured) == sorted(buckets.shapes)


def test_a_bundle_without_buckets_is_built_again(made: Build, tmp_path: Path) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    bare = Bundle(bundle.folder, {k: v for k, v in bundle.manifest.items() if k != "engine"})
    with pytest.raises(ArtifactError, match="names no buckets") as caught:
        Buckets.read(bare)
    assert "Build it again" in caught.value.hint


def test_the_head_sizes_are_the_kernels_own() -> None:
    from xopt.engines.kernels.attention import HEAD_DIMS as KERNELS

    assert HEAD_DIMS == KERNELS


def test_no_gpu(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="needs an NVIDIA GPU") as caught:
        open_engine(bundle)
    assert "xopt build CHECKPOINT --target cpu" in caught.value.hint


def test_a_t4_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from xopt.engines.kernels import checks

    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    monkeypatch.setattr(checks, "capability", lambda index: 75)
    for name, value in {
        "is_available": True,
        "current_device": 0,
        "device_count": 1,
        "get_device_name": "Tesla T4",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    with pytest.raises(UnsupportedError, match="Tesla T4 is SM 75: Triton's matrix product"):
        open_device("cuda")
    with pytest.raises(UnsupportedError, match="There is no cuda:3"):
        open_device("cuda:3")


def test_a_cpu_needs_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(UnsupportedError, match="TRITON_INTERPRET=1"):
        open_device("cpu")


def test_a_batch_that_does_not_fit(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, bundle = made("xlmr-layer0", "fp16")

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with open_here(bundle) as engine:
        monkeypatch.setattr(engine.programs, "run", run_out)
        with pytest.raises(UnsupportedError, match="A batch of 9 tokens does not fit"):
            answer(engine, ragged(checkpoint, [4, 5]))


def test_options_are_checked(made: Build) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    with pytest.raises(InputError, match="Unknown dtype 'fp8'"):
        open_here(bundle, dtype="fp8")
    with pytest.raises(InputError, match="programs is 0"):
        open_here(bundle, programs=0)
    with pytest.raises(InputError, match="Unknown device 'gpu'"):
        open_engine(bundle, device="gpu")


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ArtifactError, match="format 99; this xopt reads 1 and 2"):
        read_facts(tmp_path)


def test_a_head_the_kernels_do_not_take(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="heads have 16 dimensions") as caught:
        write_weights({}, Facts(layers=1, heads=3, hidden=48, head={}, epsilon=1e-5), tmp_path)
    assert "xopt build CHECKPOINT --target cpu" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_the_benchmark_says_that_nothing_is_measured() -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    script = REPOSITORY / "benchmarks" / "gpu.py"
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "not measured" in run.stdout


def test_a_pool_whose_graphs_are_gone_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch asserts on such a pool; with one program every second capture met it."""
    handles = itertools.count()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    live: list[Any] = []

    class Captured:
        def __init__(self, tokens: int, *arguments: Any) -> None:
            self.graph: Any = None
            self.runs = 0

        def run(self, batch: PackedBatch, rows: int, memory: Any) -> Any:
            if self.runs == 1:
                self.graph = memory
                live.append((memory, [p.graph for p in programs.programs.values()]))
            self.runs += 1
            return memory

    monkeypatch.setattr(cuda_programs, "Program", Captured)
    for bound, fresh in ((1, 3), (2, 1)):
        buckets = Buckets(((16, 1), (64, 1)))
        programs = cuda_programs.Programs(lambda ids: None, torch.device("cuda"), 1, bound, buckets)
        live.clear()
        for length in (3, 60, 3):
            batch = pack(
                [Encoding(np.full(length, 5, np.int32), np.zeros(length, np.int32))],
                first_position=2,
            )
            for _ in range(2):
                programs.run(batch, 1)
        assert len({memory for memory, _ in live}) == fresh
