"""A few damaged files and bodies, and commands that end; thousands are in docs/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.bodies import run_bodies
from tests.faults.workshop import SETS, Workshop

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory, warm_cache: Callable[[Path], None]) -> Path:
    """Where the sound sets lie, made here: PyTorch is imported already."""
    folder = tmp_path_factory.mktemp("faults")
    Workshop(folder / "sound").make(SETS)
    warm_cache(folder / "cache")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("damaged", "--commands", "run,eval,config,report", "--count", "24"),
        ("damaged", "--commands", "build,calibrate,sweep,tune", "--count", "10"),
        ("stopped", "--count", "4", "--only", ".jsonl", "--compiled"),
    ],
    ids=["light", "heavy", "stopped"],
)
def test_an_error_with_a_hint_or_a_sound_answer_and_nothing_half_built(
    words: tuple[str, ...], scratch: Path
) -> None:
    # A process of its own: it forks for each case, which one with threads must not.
    command = [sys.executable, "-m", "tests.faults", *words, "--scratch", str(scratch)]
    place = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
    env = os.environ | {"PYTHONPATH": place, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_damaged_bodies_are_answered_or_refused_in_words(tmp_path: Path) -> None:
    found = run_bodies(tmp_path, count=200, seed=0)
    assert found.statuses.total() == 200
    assert not found.faults
