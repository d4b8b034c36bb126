"""Whole bundles of the target ``tensorrt``, with a fake TensorRT and a fake GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.engines.base import open_engine
from xopt.engines.tensorrt import enterprise
from xopt.engines.tensorrt.device import Device
from xopt.errors import UnsupportedError
from xopt.packing import Encoding, pack
from xopt.progress import Silent

SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}


@pytest.mark.parametrize("attention", ["native", "plugin"])
def test_a_whole_bundle(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
    attention: str,
) -> None:
    """From the checkpoint to the bundle, and what answers for it on a machine without its GPU."""
    monkeypatch.setattr(enterprise, "Device", lambda number, given: Device(number, driver))
    options = BuildOptions(
        str(make_checkpoint("xlm-roberta", "embed", **SIZES)),
        target="tensorrt",
        attention=attention,
        calibration_tokens=1000,
        out=str(tmp_path / "bundle"),
    )
    bundle = build_bundle(options, record=False).bundle
    bundle.verify()
    assert build_bundle(options, record=False).cached
    assert bundle.manifest["engine"]["attention"] == attention
    told = json.loads((bundle.folder / "engine.trt").read_text())
    plugins = [["VarlenAttentionInt8", "INT8"]] * 2 if attention == "plugin" else []
    assert [plugin[:2] for plugin in told["plugins"]] == plugins
    usual = told["profiles"][-1]["input_ids"][1][0]
    assert 1 < usual <= told["profiles"][-1]["input_ids"][2][0]
    with open_engine(bundle, predict=True) as engine:
        ids = np.arange(4, 14, dtype=np.int32)
        batch = pack([Encoding(ids, np.zeros_like(ids))], first_position=2)
        assert engine.name == "portable"
        assert np.isfinite(engine.run(batch)["embeddings"]).all()


@pytest.mark.parametrize(
    ("version", "message"), [("10.3.0.30", "older than 10.12"), ("10.14.1.48", "attention plugin")]
)
def test_what_cannot_be_built_fails_before_the_calibration(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    message: str,
) -> None:
    monkeypatch.setenv("XOPT_FAKE_TENSORRT", version)
    monkeypatch.setattr(enterprise, "Device", lambda number, given: Device(number, driver))
    begun: list[str] = []

    class Stages(Silent):
        def stage(self, name: str) -> None:
            begun.append(name)

    options = BuildOptions(
        str(make_checkpoint("xlm-roberta", "embed", **SIZES)),
        target="tensorrt",
        attention="plugin",
        out=str(tmp_path / "bundle"),
    )
    with pytest.raises(UnsupportedError, match=message):
        build_bundle(options, Stages(), record=False)
    assert begun == ["checkpoint"]
    assert not (tmp_path / "bundle").exists()


def test_another_gpu_gets_a_bundle_of_its_own(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enterprise, "Device", lambda number, given: Device(number, driver))
    options = BuildOptions(
        str(make_checkpoint("xlm-roberta", "embed", **SIZES)),
        "fp16",
        "tensorrt",
        calibration_tokens=1000,
        out=str(tmp_path / "bundle"),
    )
    first = build_bundle(options, record=False).bundle
    look = enterprise.this_machine
    monkeypatch.setattr(
        enterprise, "this_machine", lambda *given: replace(look(*given), gpu="Another GPU")
    )
    second = build_bundle(options, record=False)
    assert not second.cached
    assert second.bundle.fingerprint != first.fingerprint
    assert second.bundle.manifest["engine"]["runs_on"]["gpu"] == "Another GPU"
