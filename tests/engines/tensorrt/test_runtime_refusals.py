"""What the engine of the target ``tensorrt`` refuses before TensorRT sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.engines.tensorrt import test_runtime
from tests.engines.tensorrt.test_runtime import MACHINE, make_bundle

from xopt.artifacts import Bundle
from xopt.engines.base import open_engine
from xopt.engines.tensorrt.compat import RunsOn
from xopt.engines.tensorrt.runtime import TensorRtEngine
from xopt.errors import ArtifactError, UnsupportedError

driver, trt = test_runtime.driver, test_runtime.trt


def test_nothing_is_deserialized_before_the_checksum(tmp_path: Path, trt: Any, driver: Any) -> None:
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, "none"))
    (bundle.folder / "engine.trt").write_bytes(b"plam")
    with pytest.raises(ArtifactError, match="sha256"):
        open_engine(bundle, driver=driver)
    with pytest.raises(ArtifactError, match="sha256"):
        TensorRtEngine(bundle, driver=driver)
    assert trt.engines == []
    assert (driver.streams, driver.contexts) == (0, 0)


def test_another_machine_is_refused_before_the_engine_is_read(
    tmp_path: Path, trt: Any, driver: Any
) -> None:
    elsewhere = replace(MACHINE, sm=90, gpu="NVIDIA H100")
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(elsewhere, "none"))
    with pytest.raises(UnsupportedError, match=r"H100 \(SM 90\), this one is Fake GPU"):
        TensorRtEngine(bundle, driver=driver)
    assert trt.runtimes == []


@pytest.mark.parametrize(("compat", "allowed"), [("none", False), ("version", True)])
def test_code_inside_an_engine_runs_only_if_it_was_built_so(
    tmp_path: Path, trt: Any, driver: Any, compat: str, allowed: bool
) -> None:
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, compat))
    with TensorRtEngine(bundle, driver=driver):
        assert trt.runtimes[0].engine_host_code_allowed is allowed


def test_an_engine_that_tensorrt_does_not_read(tmp_path: Path, trt: Any, driver: Any) -> None:
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, "none"), b"other")
    with pytest.raises(UnsupportedError, match="made no engine"):
        TensorRtEngine(bundle, driver=driver)
    assert (driver.streams, driver.contexts) == (0, 0)


def test_a_manifest_without_an_engine(tmp_path: Path, trt: Any, driver: Any) -> None:
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, "none"))
    damaged = Bundle(bundle.folder, {**bundle.manifest, "engine": {}})
    with pytest.raises(ArtifactError, match="does not describe its engine"):
        TensorRtEngine(damaged, driver=driver)


def test_an_engine_that_reads_wider_ids_is_refused(tmp_path: Path, trt: Any, driver: Any) -> None:
    """One that was built before would read behind what it is given."""
    bundle = make_bundle(tmp_path / "bundle", RunsOn.of_build(MACHINE, "none"))
    engine = {k: v for k, v in bundle.manifest["engine"].items() if k != "indices"}
    older = replace(bundle, manifest=bundle.manifest | {"engine": engine})
    with pytest.raises(ArtifactError, match="reads ids as int64"):
        TensorRtEngine(older, driver=driver)
    assert driver.contexts == 0
