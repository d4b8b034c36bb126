"""The other side of every parity test."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from tests.scripts import load_script

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """``benchmarks/plain_transformers.py``: the other side of every parity test."""
    return load_script(REPOSITORY / "benchmarks" / "plain_transformers.py")
