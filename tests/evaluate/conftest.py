"""Tiny checkpoints for every head of XTREME, built once in fp32 and INT8."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.evaluate.tasks import TASKS

REPOSITORY = Path(__file__).parents[2]
Factory = Callable[..., Path]

# Name -> head and labels, which stand in another order than the task's own.
HEADS: dict[str, tuple[str, list[str] | None]] = {
    "nli": ("classify", ["neutral", "contradiction", "ENTAILMENT"]),
    "pair": ("classify", ["1", "0"]),
    "pos": ("tag", list(reversed(TASKS.resolve("udpos").tags))),  # type: ignore[attr-defined]
    "ner": ("tag", list(reversed(TASKS.resolve("panx").tags))),  # type: ignore[attr-defined]
    "qa": ("span", None),
    "encoder": ("embed", None),
}


@pytest.fixture(scope="session")
def heads(make_checkpoint: Factory) -> Callable[[str], Path]:
    """``heads("nli")``: the checkpoint's folder."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            kind, labels = HEADS[name]
            made[name] = make_checkpoint("xlm-roberta", kind, labels=labels, seed=len(name))
        return made[name]

    return find


@pytest.fixture(scope="session")
def bundles(
    heads: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bundle]:
    """``bundles("nli", "int8")``."""
    from xopt.compile.build import BuildOptions, build_bundle

    root = tmp_path_factory.mktemp("bundles")

    def find(name: str, precision: str = "fp32", target: str = "cpu") -> Bundle:
        out = root / f"{name}-{precision}-{target}"
        if not out.is_dir():
            options: dict[str, Any] = {"checkpoint": str(heads(name)), "precision": precision}
            options |= {"calibration_tokens": 512, "target": target, "out": str(out)}
            build_bundle(BuildOptions(**options))
        return Bundle.open(out)

    return find


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """``benchmarks/plain_transformers.py``: the other side of every parity test."""
    place = REPOSITORY / "benchmarks" / "plain_transformers.py"
    spec = importlib.util.spec_from_file_location("plain_transformers", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
