"""A bundle for TensorRT whose engine nobody can open."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from tests.core.made import FACTS
from tests.deploy.facts import INPUTS, RUNS_ON

from xopt.artifacts import Bundle, write_manifest
from xopt.cli import deploy  # noqa: F401
from xopt.engines.tensorrt.profiles import LengthProfile


@pytest.fixture
def tensorrt(tmp_path: Path, tokenizer_file: Path) -> Bundle:
    """As a build for TensorRT leaves it, but for the engine's content."""
    folder = tmp_path / "sts"
    folder.mkdir()
    (folder / "engine.trt").write_bytes(b"plan")
    (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    signature = {
        "inputs": list(INPUTS), "output": "embeddings", "per_token": False, "width": 3,
        "max_tokens": 64, "first_position": 2, "vocabulary": 1200, "types": 1,
    }  # fmt: skip
    profiles = [LengthProfile(2, 16, 32), LengthProfile(4, 64, 128)]
    engine = {
        "profiles": [asdict(profile) for profile in profiles],
        "inputs": INPUTS,
        "indices": "int32",
        "version": "11.4.0.106",
        "runs_on": RUNS_ON.manifest(),
        "runs_on_text": RUNS_ON.describe(),
    }
    facts = FACTS | {"target": "tensorrt", "precision": "int8"}
    write_manifest(folder, "bundle", "a" * 64, facts | {"signature": signature, "engine": engine})
    return Bundle.open(folder)
