"""The GPU check's stage of sessions, over a driver whose GPU is this process's memory."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engines.tensorrt.fake_cuda import FakeDriver

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TYPES = {"*fp16": ctypes.c_void_p, "*i32": ctypes.c_void_p, "i32": ctypes.c_int}
PARAMETERS = (
    ("qkv", "*fp16"), ("cu_seqlens", "*i32"), ("tokens", "i32"), ("sentences", "i32"),
    ("out", "*fp16"),
)  # fmt: skip


class LaunchDriver(FakeDriver):
    """It also loads modules, each of which is attention over 12 heads of 64."""

    def __init__(self) -> None:
        super().__init__(sm=80)
        self.modules = 0

    def cuModuleLoadData(self, module: Any, code: bytes) -> int:
        self.modules += 1
        return 0

    def cuModuleUnload(self, module: Any) -> int:
        self.modules -= 1
        return 0

    def cuModuleGetFunction(self, function: Any, module: Any, name: bytes) -> int:
        return 0

    def cuLaunchKernel(self, function: Any, *launch: Any) -> int:
        stream, pointers = launch[7:9]
        given = {
            name: TYPES[kind].from_address(pointers[number]).value
            for number, (name, kind) in enumerate(PARAMETERS)
        }
        if stream.value in self.capturing:
            captured = self.capturing[stream.value]
            assert captured is not None
            captured.append(lambda: self.attend(given))
        else:
            self.attend(given)
        return 0

    def attend(self, given: dict[str, int]) -> None:
        import torch

        from xopt.engines.kernels import varlen_attention_reference

        def read(name: str, kind: Any, *shape: int) -> Any:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            raw = ctypes.string_at(self.at(given[name], size), size)
            return torch.from_numpy(np.frombuffer(raw, kind).reshape(shape).copy())

        qkv = read("qkv", np.float16, given["tokens"], 3, 12, 64)
        starts = read("cu_seqlens", np.int32, given["sentences"] + 1)
        out = varlen_attention_reference(qkv, starts, given["tokens"]).half().numpy()
        ctypes.memmove(self.at(given["out"], out.nbytes), out.ctypes.data, out.nbytes)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> tuple[LaunchDriver, Callable[..., None]]:
    """The driver, and the stage over it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_launch
    import gpu_stages

    from xopt.engines.kernels.aot import AotKernel
    from xopt.engines.kernels.spec import GridRule

    driver = LaunchDriver()
    kernel = AotKernel(
        name="varlen_attention", sm=80, entry="attention", ptx_version=80, ptx="",
        parameters=PARAMETERS, constants={}, grid=GridRule(64, 1, 12), num_warps=4, shared_bytes=0,
        triton_version="",
    )  # fmt: skip
    monkeypatch.setattr(gpu_launch, "tactics", lambda: iter([(gpu_launch.FP16, 80, 80, kernel)]))
    monkeypatch.setattr("xopt.engines.tensorrt.device.load_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def free() -> tuple[int, int]:
        return (1 << 40) - sum(map(len, driver.memory.values())), 1 << 40

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    return driver, gpu_stages.sessions


def test_sessions_run_evict_and_give_everything_back(
    stage: tuple[LaunchDriver, Callable[..., None]],
) -> None:
    driver, run = stage
    rows: list[dict[str, Any]] = []
    run(lambda **row: rows.append(row), None)
    assert len(rows) == 3
    assert all(row["right"] for row in rows), rows
    assert driver.launches > 0
    assert (driver.memory, driver.pinned, driver.modules) == ({}, {}, 0)
    assert (driver.contexts, driver.streams) == (0, 0)


def test_a_wrong_answer_is_seen(
    stage: tuple[LaunchDriver, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, run = stage
    monkeypatch.setattr(driver, "attend", lambda given: None)
    rows: list[dict[str, Any]] = []
    run(lambda **row: rows.append(row), None)
    assert [row["right"] for row in rows] == [False, False, True]


def test_one_answer_that_is_no_number_is_seen(
    stage: tuple[LaunchDriver, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, run = stage
    attend, count = driver.attend, itertools.count()

    def spoilt(given: dict[str, int]) -> None:
        attend(given)
        if next(count) == 7:
            ctypes.memset(driver.at(given["out"], 2), 0xFF, 2)

    monkeypatch.setattr(driver, "attend", spoilt)
    rows: list[dict[str, Any]] = []
    run(lambda **row: rows.append(row), None)
    assert [row["right"] for row in rows] == [False, True, True]
