"""What an engine says it runs on, and what happens elsewhere."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import pytest

from xopt.compile.options import BuildOptions
from xopt.engines.tensorrt.compat import Machine, RunsOn, this_machine, version_of
from xopt.errors import ArtifactError, UnsupportedError

L4 = Machine("tensorrt", "11.4.0.106", 89, "NVIDIA L4", "Linux", "x86_64")
HERE: dict[str, Machine] = {
    "itself": L4,
    "another GPU of its SM": replace(L4, gpu="NVIDIA GeForce RTX 4090"),
    "a newer GPU": replace(L4, sm=120, gpu="NVIDIA GeForce RTX 5090"),
    "an older GPU": replace(L4, sm=86, gpu="NVIDIA A10"),
    "Turing": replace(L4, sm=75, gpu="Tesla T4"),
    "a newer TensorRT": replace(L4, version="11.5.0.1"),
    "the next TensorRT": replace(L4, version="12.0.0.1"),
    "the one after": replace(L4, version="13.0.0.1"),
    "an older TensorRT": replace(L4, version="11.3.0.9"),
    "Windows": replace(L4, system="Windows", processor="AMD64"),
    "Jetson": replace(L4, processor="aarch64"),
}
RUNS: dict[str, set[str]] = {
    "none": {"itself"},
    "same-sm": {"itself", "another GPU of its SM"},
    "ampere-plus": {"itself", "another GPU of its SM", "a newer GPU", "an older GPU"},
    "version": {"itself", "a newer TensorRT", "the next TensorRT"},
}


@pytest.mark.parametrize("compat", sorted(RUNS))
def test_where_an_engine_runs(compat: str) -> None:
    engine = RunsOn.of_build(L4, compat)
    assert {name for name, machine in HERE.items() if not engine.refusals(machine)} == RUNS[compat]


def test_the_error_says_every_reason_and_what_to_type() -> None:
    engine = RunsOn.of_build(L4, "same-sm")
    orin = Machine("tensorrt", "10.3.0.30", 87, "Orin", "Linux", "aarch64")
    with pytest.raises(UnsupportedError) as caught:
        engine.check(orin)
    for part in ("built for Linux x86_64", "SM 89", "Orin", "87", "11.4.0.106", "10.3.0.30"):
        assert part in caught.value.message
    assert "xopt build CHECKPOINT --target tensorrt " in caught.value.hint


def test_it_survives_the_manifest() -> None:
    engine = RunsOn.of_build(L4, "ampere-plus")
    assert RunsOn.read({"runs_on": engine.manifest()}) == engine
    assert engine.describe() == "GPU of SM 80 or later; tensorrt 11.4.0.106; Linux x86_64"


def test_an_engine_for_one_gpu_names_it() -> None:
    engine = RunsOn.of_build(L4, "none")
    assert engine.describe() == "NVIDIA L4 (SM 89); tensorrt 11.4.0.106; Linux x86_64"
    assert RunsOn.read({"runs_on": engine.manifest()}) == engine
    with pytest.raises(UnsupportedError) as caught:
        engine.check(HERE["another GPU of its SM"])
    wanted = "built for NVIDIA L4 (SM 89), this one is NVIDIA GeForce RTX 4090 (SM 89)"
    assert wanted in caught.value.message


@pytest.mark.parametrize(
    ("sm", "target"), [(90, "tensorrt"), (87, "tensorrt"), (121, "tensorrt-rtx --sm 121")]
)
def test_the_hint_names_a_build_that_is_possible_there(sm: int, target: str) -> None:
    here = Machine("tensorrt_rtx", "1.7.1.116", sm, "This GPU", "Linux", "x86_64")
    engine = replace(RunsOn.of_build(here, "same-sm"), sm=(86, 89))
    with pytest.raises(UnsupportedError) as caught:
        engine.check(here)
    assert caught.value.hint.endswith(f"xopt build CHECKPOINT --target {target} --precision int8")
    name, _, number = target.partition(" --sm ")
    BuildOptions(target=name, precision="int8", sm=number or None)


@pytest.mark.parametrize("engine", [{}, {"runs_on": {"sm": [89]}}, {"runs_on": 5}])
def test_a_bundle_that_does_not_say_is_damaged(engine: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="does not say what its engine runs on"):
        RunsOn.read(engine)


def test_versions_are_compared_as_numbers() -> None:
    assert version_of("10.13.0") > version_of("10.9.4")
    assert version_of("11.4.0.106") == (11, 4, 0, 106)
    assert version_of("10.3.0rc1.5") == (10, 3, 0, 5)
    assert version_of("10.dev") == (10,)


def test_this_machine_is_the_gpu_and_the_system() -> None:
    class Gpu:
        sm, name = 89, "NVIDIA L4"

    machine = this_machine("tensorrt", "11.4.0.106", Gpu())  # type: ignore[arg-type]
    assert replace(machine, system="Linux", processor="x86_64") == L4
    assert machine.system == platform.system()
