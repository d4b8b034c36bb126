"""Kernels of the GPU check that many processes compile, before it launches one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytest.importorskip("triton", reason="Triton is not installed")


def test_each_kernel_is_compiled_by_one_process_and_found_by_the_next(tmp_path: Path) -> None:
    """By Triton's compiler, into its own folder; nothing is launched, for there is no GPU."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    environment["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS), *filter(None, sys.path)])
    command = [sys.executable, Path(__file__).with_name("shared_kernels.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    # Four widths in two types, of which each came once more or twice.
    assert sum(rows["shares"]) == 8
    assert max(rows["shares"]) < 8
    assert rows["made"] == [False] * 8
    assert rows["found"] == [True] * 8


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_ahead

    return gpu_ahead


@pytest.mark.parametrize(
    ("free_gib", "cores", "processes"), [(139, 16, 16), (139, 64, 16), (7, 16, 2), (1, 16, 1)]
)
def test_as_many_processes_as_cores_and_memory_let(
    ahead: Any, monkeypatch: pytest.MonkeyPatch, free_gib: int, cores: int, processes: int
) -> None:
    """One that ends is told, and what it did not compile is compiled later."""
    asked: list[tuple[int, int]] = []

    class Pool:
        def __init__(self, count: int, **options: Any) -> None:
            assert count == processes
            assert options["mp_context"].get_start_method() == "spawn"

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def submit(self, run: Any, work: Any, given: Any, number: int, count: int) -> Any:
            share: Future[int] = Future()
            asked.append((number, count))
            if number:
                share.set_exception(BrokenProcessPool("a worker ended"))
            else:
                share.set_result(5)
            return share

    memory = SimpleNamespace(mem_get_info=lambda: (free_gib << 30, 139 << 30))
    monkeypatch.setattr(ahead.torch, "cuda", memory)
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(ahead, "ProcessPoolExecutor", Pool)
    rows: list[dict[str, Any]] = []
    ahead.compile_ahead(lambda **row: rows.append(row), print)
    assert asked == [(number, processes) for number in range(processes)]
    [row] = rows
    assert row["value"].startswith(f"5 kernels by {processes} processes in ")
    said = f"; {processes - 1} failed: BrokenProcessPool: a worker ended"
    assert row["value"].endswith(said) == (processes > 1)


def test_one_that_ends_before_the_last_has_begun_is_told(
    ahead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool takes no more work then; what was not compiled is compiled by the stage."""

    class Pool:
        def __init__(self, count: int, **options: Any) -> None:
            pass

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def submit(self, run: Any, work: Any, given: Any, number: int, count: int) -> Any:
            if number == 2:
                raise BrokenProcessPool("a worker ended")
            share: Future[int] = Future()
            share.set_result(4)
            return share

    monkeypatch.setattr(
        ahead.torch, "cuda", SimpleNamespace(mem_get_info=lambda: (139 << 30, 139 << 30))
    )
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(ahead, "ProcessPoolExecutor", Pool)
    rows: list[dict[str, Any]] = []
    ahead.compile_ahead(lambda **row: rows.append(row), print)
    assert rows[0]["value"].startswith("8 kernels by 8 processes in ")
    assert rows[0]["value"].endswith("; 1 failed: BrokenProcessPool: a worker ended")


def test_what_is_in_a_tensor_makes_no_other_kernel(
    ahead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products cut into parts name the tensor of their sums, which nobody has written yet: each
    process read other numbers there, and so left kernels to nobody or compiled them twice."""
    made: list[Any] = []
    monkeypatch.setattr(ahead.JITFunction, "run", lambda *given, **named: made.append(named))
    kernel = SimpleNamespace(__name__="product")
    with ahead.sharing(0, 1) as compiled:
        for value in (1, 2, 3):
            options: dict[str, Any] = {"sums": torch.full((4, 4), value), "PARTS": 2}
            ahead.JITFunction.run(kernel, torch.ones(4), grid=(1,), warmup=False, **options)
        assert len(compiled) == len(made) == 1
        # Another type or another constant is another kernel.
        for options in ({"sums": torch.zeros(4)}, {"PARTS": 3}):
            ahead.JITFunction.run(kernel, torch.ones(4), grid=(1,), warmup=False, **options)
        assert len(compiled) == len(made) == 3
