"""What stands for TensorRT, TensorRT-RTX and the driver has their numbers, and refuses alike."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest
from tests.engines.tensorrt.fake_cuda import INVALID_CONTEXT, FakeDriver, fake_tensorrt
from tests.engines.tensorrt.fake_rtx import Diagnostics, Validity
from tests.engines.tensorrt.test_real_plugin import stubbed

from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.profiles import LengthProfile

FAKE = Path(__file__).with_name("fake_builder") / "tensorrt" / "__init__.py"
NUMBERS = """
import json, sys
import tensorrt_bindings as real
members = {name: getattr(real, name).__members__ for name in sys.argv[1:]}
print(json.dumps({n: {m: int(v) for m, v in found.items()} for n, found in members.items()}))
"""


def test_numbers_are_those_of_tensorrt(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("fake_of_tensorrt", FAKE)
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    kinds = {
        name: {member.name: int(member) for member in kind}
        for name, kind in vars(fake).items()
        if isinstance(kind, type) and issubclass(kind, IntEnum) and kind is not IntEnum
    }
    assert {"BuilderFlag", "NetworkDefinitionCreationFlag"} <= set(kinds)
    found = subprocess.run(
        [sys.executable, "-P", "-c", NUMBERS, *kinds],
        env=stubbed(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    real = json.loads(found.stdout)
    for name, members in kinds.items():
        assert members.items() <= real[name].items(), name


def test_numbers_are_those_of_tensorrt_rtx() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    for fake, kind in (
        (Validity, real.EngineValidity),
        (Diagnostics, real.EngineInvalidityDiagnostics),
    ):
        found = {name: int(value) for name, value in kind.__members__.items()}
        assert {member.name: int(member) for member in fake} == found


@pytest.mark.parametrize(
    ("name", "shape", "taken"),
    [
        ("cu_seqlens", (2,), True),
        ("cu_seqlens", (1,), False),
        ("cu_seqlens", (9,), True),
        ("cu_seqlens", (10,), False),
        ("input_ids", (0,), False),
        ("input_ids", (1, 1), False),
    ],
)
def test_a_shape_outside_of_the_profile_is_refused(
    name: str, shape: tuple[int, ...], taken: bool
) -> None:
    profile = LengthProfile(8, 32, 128).shapes({"input_ids": ["T"], "cu_seqlens": ["B_plus_1"]})
    module = fake_tensorrt(FakeDriver(), [profile])
    engine = module.Runtime(module.Logger(2)).deserialize_cuda_engine(b"plan")
    context = engine.create_execution_context("USER_MANAGED")
    assert context.set_optimization_profile_async(0, 1)
    assert context.set_input_shape(name, shape) is taken


def test_nothing_is_allocated_without_a_context() -> None:
    driver = FakeDriver()
    pointer = ctypes.c_uint64()
    arguments = (ctypes.byref(pointer), ctypes.c_size_t(16))
    assert driver.cuMemAlloc_v2(*arguments) == INVALID_CONTEXT
    device = Device(0, driver).enter()
    assert driver.cuMemAlloc_v2(*arguments) == 0
    device.free(pointer.value)
    device.close()
