"""A few moments at which a command is stopped; more are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_a_run_that_was_stopped_leaves_nothing_half_built_and_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    # A process of its own: it forks for each case, which one with threads must not.
    words = [sys.executable, "-m", "tests.faults", "stopped", "--count", "4", "--only", ".jsonl",
             "--scratch", str(tmp_path / "scratch")]  # fmt: skip
    place = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
    env = os.environ | {"PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
