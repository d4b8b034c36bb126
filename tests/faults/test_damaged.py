"""A few damaged files of every kind; the thousands are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(("commands", "count"), [("run,eval,config,report", "57"), ("build", "12")])
def test_damaged_files_end_in_errors_with_a_hint_or_in_sound_answers(
    commands: str, count: str, tmp_path: Path
) -> None:
    # A process of its own: it forks for each case, which one with threads must not.
    words = [sys.executable, "-m", "tests.faults", "damaged", "--commands", commands, "--count",
             count, "--scratch", str(tmp_path / "scratch")]  # fmt: skip
    place = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
    env = os.environ | {"PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
