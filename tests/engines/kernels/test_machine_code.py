"""The machine code of the chosen tiles: blocks an SM, spills and the epilogue's length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What ``machine_code.py`` prints, in a process that does not interpret kernels."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    script = Path(__file__).with_name("machine_code.py")
    run = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout)
    return rows


def test_two_blocks_fit_into_an_sm_and_nothing_spills(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows if row["blocks"] < 2 or row["spill_bytes"]]


def test_shared_memory_is_not_read_byte_by_byte(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows if row["byte_loads"]]


def test_gelu_and_quantization_take_twenty_instructions(rows: list[dict[str, Any]]) -> None:
    most = {"ffn_in": 20, "ffn_in, a scale per channel": 25, "ffn_in fp16": 13, "ffn_out": 6}
    linear = [row for row in rows if row["kernel"] in most]
    assert {row["kernel"] for row in linear} == set(most)
    assert not [row for row in linear if row["epilogue"] > most[row["kernel"]]]
