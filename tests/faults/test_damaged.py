"""A few damaged files and bodies of every kind; the thousands are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sound sets lie, which whoever comes first makes."""
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize(
    "words",
    [
        ("damaged", "--commands", "run,eval,config,report", "--count", "46"),
        ("damaged", "--commands", "build,calibrate,sweep,tune", "--count", "18"),
        ("bodies", "--count", "200"),
    ],
    ids=["light", "heavy", "bodies"],
)
def test_what_is_damaged_ends_in_an_error_with_a_hint_or_in_a_sound_answer(
    words: tuple[str, ...], scratch: Path
) -> None:
    # A process of its own: it forks for each case, which one with threads must not.
    command = [sys.executable, "-m", "tests.faults", *words, "--scratch", str(scratch)]
    place = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
    env = os.environ | {"PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
