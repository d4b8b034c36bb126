"""The other side of every parity test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]


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
