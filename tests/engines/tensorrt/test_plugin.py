"""The attention plugin against a fake ``tensorrt.plugin``: no TensorRT, no GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from xopt.engines.kernels import attention, attention_int8
from xopt.engines.kernels.aot import TENSORRT_SHARED_BYTES
from xopt.engines.kernels.tiles import Tile
from xopt.engines.tensorrt import plugin
from xopt.errors import BuildError, UnsupportedError

HERE = Path(__file__).parent


@pytest.fixture
def fake() -> ModuleType:
    """A fresh ``tensorrt`` and ``tensorrt.plugin`` in one, with nothing registered."""
    spec = importlib.util.spec_from_file_location("fake_plugin", HERE / "fake_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What ``compile_plugin.py`` prints."""
    environment = dict(os.environ)
    environment.pop("TRITON_INTERPRET", None)
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, str(HERE / "compile_plugin.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout)
    return rows


def test_registers_tensors_then_attributes(fake: ModuleType) -> None:
    plugin.register_plugins(fake, fake, plugin.PluginTarget())
    found = {k: (p.tensors, p.attributes) for k, p in fake.REGISTRY.items()}
    sizes = {"heads": int, "head_dim": int}
    assert found == {
        "xopt::VarlenAttention": (["qkv", "cu_seqlens"], sizes),
        "xopt::VarlenAttentionInt8": (
            ["qkv", "cu_seqlens", "qkv_scale"],
            sizes | {"out_int8": int},
        ),
    }
    assert all(p.autotune and p.launch for p in fake.REGISTRY.values())


def test_output_shape_and_type(layers: list[dict[str, Any]]) -> None:
    for row in layers:
        assert row["dtype"] == ("INT8" if row["out_int8"] else "HALF")
        width = row["heads"] * row["head_dim"]
        assert row["shape"] == [[sizes["T"], width] for sizes in row["sizes"]]


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
        monkeypatch.setattr(attention, "_varlen_attention_kernel", Recorder())
        attention.launch_attention(torch.zeros(shape, dtype=torch.float16), begins, tile)
    else:
        monkeypatch.setattr(attention_int8, "_varlen_attention_int8_kernel", Recorder())
        attention_int8.launch_attention_int8(
            torch.zeros(shape, dtype=torch.int8), begins, tile, qkv_scale=torch.ones(3)
        )
    return grids[0]


def test_launches_as_our_own_engine_does(
    layers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in layers:
        for kernel, (block_m, block_n, warps, shared) in zip(
            row["kernels"], row["tiles"], strict=True
        ):
            tile = Tile(block_m, block_n, warps, 1)
            grids = zip(kernel["grid_x"], kernel["grid_y"], kernel["grid_z"], strict=True)
            for sizes, grid in zip(row["sizes"], grids, strict=True):
                assert grid == launched_grid(monkeypatch, row, tile, sizes)
            same = len(row["sizes"])
            assert kernel["block_x"] == [32 * warps] * same
            assert kernel["block_y"] == kernel["block_z"] == [1] * same
            assert kernel["shared_mem"] == [shared] * same


def test_a_launch_asks_for_less_shared_memory_than_tensorrt_gives(
    layers: list[dict[str, Any]],
) -> None:
    for row in layers:
        for kernel in row["kernels"]:
            assert 0 < max(kernel["shared_mem"]) <= TENSORRT_SHARED_BYTES < 48 * 1024


def test_tactics_are_counted_from_one_and_have_their_own_kernels(
    layers: list[dict[str, Any]],
) -> None:
    for row in layers:
        tactics = [kernel["tactic"] for kernel in row["kernels"]]
        assert tactics == list(range(1, len(tactics) + 1))
        assert len({kernel["ptx"] for kernel in row["kernels"]}) == len(tactics)


def test_ptx_takes_what_tensorrt_passes_and_nothing_hidden(layers: list[dict[str, Any]]) -> None:
    for row in layers:
        for kernel, parameters in zip(row["kernels"], row["parameters"], strict=True):
            entries = re.findall(r"\.entry (\w+)\(([^)]*)\)", kernel["ptx"])
            assert [name for name, _ in entries] == [kernel["name"]]
            found = [".u64" if ".u64" in part else ".u32" for part in entries[0][1].split(",")]
            passed = [".u64"] * row["tensors"] + [".u32"] * len(kernel["extra"]) + [".u64"]
            assert found == passed
            assert [name for name, _ in parameters[-3:]] == ["tokens", "sentences", "out"]
            assert kernel["extra"] == [
                [sizes["T"] for sizes in row["sizes"]],
                [sizes["B1"] - 1 for sizes in row["sizes"]],
            ]
            target = re.search(r"^\.target sm_(\d+)", kernel["ptx"], re.MULTILINE)
            assert target is not None
            assert int(target[1]) == row["sm"]


def test_tensorrt_may_not_ask_for_a_kernel_that_was_not_offered() -> None:
    kernels: Any = ("a", "b")
    assert [plugin._choose(kernels, tactic) for tactic in (0, 1, 2)] == ["a", "a", "b"]
    with pytest.raises(BuildError, match="tactic 3; there are 2"):
        plugin._choose(kernels, 3)


@pytest.mark.parametrize(
    ("device", "ampere_plus", "expected"),
    [(80, False, 80), (89, False, 89), (89, True, 80), (90, False, 90), (110, False, 89)],
)
def test_the_kernel_is_compiled_for_what_runs_it(
    device: int, ampere_plus: bool, expected: int
) -> None:
    assert plugin.plugin_sm(device, ampere_plus=ampere_plus) == expected


def test_turing_is_sent_to_native_attention() -> None:
    with pytest.raises(UnsupportedError, match="SM 75") as caught:
        plugin.plugin_sm(75)
    assert "--attention native" in caught.value.hint


class TestTheFakeIsStrict:
    """Refusing what the real ``tensorrt.plugin`` refuses is what gives the tests above a value."""

    def test_a_number_left_of_an_expression(self, fake: ModuleType) -> None:
        size = fake.ShapeExpr(lambda sizes: sizes["T"])
        assert (size * 2 + 1).evaluate({"T": 4}) == 9
        for operation in (lambda: 2 * size, lambda: 1 + size, lambda: int(size), lambda: size / 2):
            with pytest.raises(TypeError):
                operation()

    def test_hints_as_strings(self, fake: ModuleType) -> None:
        def describe(qkv: Any) -> Any:
            return qkv

        with pytest.raises(TypeError):
            fake.register("a::b")(describe)

    def test_missing_hints_defaults_and_order(self, fake: ModuleType) -> None:
        desc = fake.TensorDesc

        def hinted(function: Any, **hints: Any) -> Any:
            function.__annotations__ = {**hints, "return": desc}
            return function

        cases = [
            (hinted(lambda x: x), "no type hint"),
            (hinted(lambda x, n=1: x, x=desc, n=int), "default value"),
            (hinted(lambda x, n, y: x, x=desc, n=int, y=desc), "behind an attribute"),
            (hinted(lambda n, x: x, n=int, x=desc), "tensors come first"),
            (hinted(lambda x, tactic: x, x=desc, tactic=int), "no attribute"),
            (hinted(lambda x, n: x, x=desc, n=list), "no attribute"),
        ]
        for function, message in cases:
            with pytest.raises(ValueError, match=message):
                fake.register("a::b")(function)
        for name in ("trt::b", "a.c::b", "::b"):
            with pytest.raises(ValueError, match="name"):
                fake.register(name)

    def test_extra_arguments_of_other_types(self, fake: ModuleType) -> None:
        params, extra = fake.KernelLaunchParams(), fake.SymIntExprs(1)
        with pytest.raises(AttributeError):
            params.cluster_x = 2
        for wrong in (5, fake.SymInt16(5)):
            extra[0] = wrong
            with pytest.raises(TypeError, match="SymInt32"):
                fake._launchable("name", "ptx", params, extra)
        extra[0] = fake.SymInt32(5)
        assert fake._launchable("name", "ptx", params, extra)["extra"][0]({}) == 5

    def test_other_types_than_the_networks(self, fake: ModuleType) -> None:
        plugin.register_plugins(fake, fake, plugin.PluginTarget())
        kernels = fake.REGISTRY["xopt::VarlenAttention"]
        kernels.autotune = lambda *arguments: [fake.AutoTuneCombination("INT8, INT32, INT8")]
        tensors = [(["T", 192], "HALF"), (["B1"], "INT32")]
        with pytest.raises(ValueError, match="strongly typed"):
            fake.build_layer("xopt::VarlenAttention", tensors, {"heads": 1, "head_dim": 64})
