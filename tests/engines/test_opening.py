"""What a user may choose of an engine, in one place for every command."""

from typing import Any

import pytest

from xopt.engines.opening import EngineOptions
from xopt.errors import InputError


@pytest.mark.parametrize(
    ("options", "target", "taken"),
    [
        (EngineOptions(), "openvino", {}),
        (EngineOptions(), "tensorrt", {}),
        (EngineOptions(threads=2, streams=1), "openvino", {"threads": 2, "streams": 1}),
        (EngineOptions(device="cpu"), "openvino", {}),
        (EngineOptions(device="cuda"), "cuda", {"device": "cuda:0"}),
        (EngineOptions(device="cuda:1"), "tensorrt", {"device": 1}),
        (EngineOptions(device=1), "cuda", {"device": "cuda:1"}),
    ],
)
def test_an_engine_gets_what_it_takes(
    options: EngineOptions, target: str, taken: dict[str, Any]
) -> None:
    assert options.of(target) == taken


@pytest.mark.parametrize("target", ["cuda", "tensorrt", "tensorrt-rtx", "torch-tensorrt", "null"])
def test_cores_are_refused_by_name_where_there_are_none_to_choose(target: str) -> None:
    with pytest.raises(InputError, match=f"streams is of the CPU; mine runs on {target}"):
        EngineOptions(streams=2).of(target, "mine")
    with pytest.raises(InputError, match="threads and streams are of the CPU"):
        EngineOptions(threads=2, streams=2).of(target)


@pytest.mark.parametrize("value", [0, -1, 1025])
@pytest.mark.parametrize("name", ["threads", "streams"])
def test_a_count_has_bounds(name: str, value: int) -> None:
    with pytest.raises(InputError, match=rf"--{name} is {value}; it must lie in 1\.\.1024"):
        EngineOptions(**{name: value})


@pytest.mark.parametrize(
    ("device", "target"), [("cuda:1", "openvino"), ("cpu", "cuda"), ("x", "cuda"), (0, "null")]
)
def test_a_device_of_another_kind_is_refused(device: str | int, target: str) -> None:
    with pytest.raises(InputError, match="There is no device"):
        EngineOptions(device=device).of(target)
