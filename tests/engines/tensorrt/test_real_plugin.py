"""Our plugins in the real ``tensorrt.plugin``, over a stub of the library below it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xopt.engines.kernels import attention, attention_int8
from xopt.engines.kernels.aot import TENSORRT_SHARED_BYTES
from xopt.engines.kernels.tiles import Tile
from xopt.engines.tensorrt import plugin

HERE = Path(__file__).parent

# What the bindings look up in the library when they load; none of it is called with a result.
STUB = """
#define F(name) void *name(void) { return 0; }
F(createInferBuilder_INTERNAL) F(createInferRefitter_INTERNAL) F(createInferRuntime_INTERNAL)
F(createNvOnnxParserRefitter_INTERNAL) F(createNvOnnxParser_INTERNAL) F(getBuilderPluginRegistry)
F(getPluginRegistry) F(initLibNvInferPlugins)
int getNvOnnxParserVersion(void) { return VERSION; }
int getInferLibVersion(void) { return VERSION; }
"""
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


def stubbed(folder: Path) -> dict[str, str]:
    """The environment in which ``tensorrt_bindings`` loads; skips where that cannot be made."""
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("TensorRT's bindings are not installed (pip install tensorrt-cu13-bindings)")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stub of TensorRT's library")
    (folder / "stub.c").write_text(STUB)
    for name in LIBRARIES:
        soname = f"{name}.so.11"
        command = [compiler, "-shared", "-fPIC", "-DVERSION=110400", f"-Wl,-soname,{soname}"]
        subprocess.run([*command, "-o", folder / soname, folder / "stub.c"], check=True)
    environment = dict(os.environ)
    environment.pop("TRITON_INTERPRET", None)
    return environment | {
        "LD_LIBRARY_PATH": str(folder),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    environment = stubbed(tmp_path_factory.mktemp("stub"))
    run = subprocess.run(
        [sys.executable, "-P", str(HERE / "real_plugin.py")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return found


def test_types_shapes_and_formats(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 9
    for row in rows:
        assert row["plugin"] == "_TemplateAOTPlugin"
        assert row["types"] == [row["out"]]
        assert row["shape"] == [
            [tokens, row["heads"] * row["head_dim"]] for tokens in (1, 127, 4096, 129)
        ]
        kinds = ["DataType.HALF", "DataType.INT32", row["out"]]
        if row["operator"] == "VarlenAttentionInt8":
            kinds = ["DataType.INT8", "DataType.INT32", "DataType.FLOAT", row["out"]]
        assert row["allowed"] == [[kind, "TensorFormat.LINEAR"] for kind in kinds]


def test_attributes_have_one_order_everywhere(rows: list[dict[str, Any]]) -> None:
    """The real library hands them over by position, in the order in which it got them."""
    for row in rows:
        assert row["order"] == sorted(row["order"])


def launched_grid(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], tile: Tile, sizes: dict[str, int]
) -> tuple[int, ...]:
    """The grid that our own launch of the kernel asks Triton for, on a batch of these sizes."""
    grids: list[tuple[int, ...]] = []

    class Recorder:
        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            grids.append(grid)
            return lambda *arguments, **options: None

    shape = (sizes["T"], 3, row["heads"], row["head_dim"])
    begins = torch.zeros(sizes["B1"], dtype=torch.int32)
    if row["operator"] == plugin.ATTENTION:
        monkeypatch.setattr(attention, "varlen_attention_kernel", Recorder())
        attention.launch_attention(torch.zeros(shape, dtype=torch.float16), begins, tile)
    else:
        monkeypatch.setattr(attention_int8, "varlen_attention_int8_kernel", Recorder())
        attention_int8.launch_attention_int8(
            torch.zeros(shape, dtype=torch.int8), begins, tile, qkv_scale=torch.ones(3)
        )
    return grids[0]


def test_launches_as_our_own_engine_does(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in rows:
        for kernel, (block_m, block_n, warps) in zip(row["kernels"], row["blocks"], strict=True):
            tile = Tile(block_m, block_n, warps, 1)
            for sizes, grid in zip(row["sizes"], kernel["grid"], strict=True):
                assert tuple(grid) == launched_grid(monkeypatch, row, tile, sizes)
            assert 0 < kernel["shared"] <= TENSORRT_SHARED_BYTES < 48 * 1024


def test_ptx_takes_what_tensorrt_passes_and_nothing_hidden(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        passed = [".u64"] * row["tensors"] + [".u32"] * 2 + [".u64"]
        for kernel in row["kernels"]:
            [taken] = kernel["taken"]
            assert [".u64" if ".u64" in part else ".u32" for part in taken.split(",")] == passed


def test_every_tactic_launches_its_own_kernel(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        found = row["kernels"]
        assert [kernel["tactic"] for kernel in found] == list(range(1, len(row["tiles"]) + 1))
        for kernel, (entry, threads, shared), grids in zip(
            found, row["tiles"], row["grids"], strict=True
        ):
            assert [kernel["entry"]] == kernel["entries"] == [entry]
            assert (kernel["block"], kernel["shared"]) == (threads, shared)
            assert kernel["grid"] == grids
            assert kernel["extra"] == [[1, 1], [127, 1], [4096, 64], [129, 3]]
            assert (kernel["count"], kernel["bits"]) == (2, [32, 32])


def test_the_oldest_driver_takes_the_ptx(rows: list[dict[str, Any]]) -> None:
    """TensorRT 11's own oldest is r580, whose compiler knows PTX up to 9.0."""
    for row in rows:
        for kernel in row["kernels"]:
            assert kernel["target"] == [str(row["sm"])]
            assert kernel["version"] == ["8.7" if row["sm"] == 120 else "8.0"]
