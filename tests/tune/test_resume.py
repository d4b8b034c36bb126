"""A phase that was killed goes on to the same bytes as one that was not."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xopt.tune.options import TuneOptions
from xopt.tune.phases import tune_checkpoint

SCRIPT = """
import os, signal, sys, torch
torch.set_num_threads(1)
from xopt.tune.options import TuneOptions
from xopt.tune.phases import tune_checkpoint

class Killed:
    def stage(self, name): self.name = name
    def share(self, done):
        if self.name.startswith("phase 2") and done * 12 >= {step}:
            os.kill(os.getpid(), signal.SIGKILL)

tune_checkpoint(TuneOptions(**{options!r}), Killed())
"""


@pytest.mark.parametrize("step", [7, 12])
def test_killed_and_run_again_gives_the_same_bytes(
    step: int,
    make_checkpoint: Any,
    toy_data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {
        "checkpoint": str(make_checkpoint("bert")), "intermediate": ("mnli", "squad"),
        "data": str(toy_data("mnli", "squad", train=40, dev=8)), "max_steps": 12,
        "evaluate_every": 3, "batch": 8, "gradient_accumulation": 2, "max_tokens": 48, "lr": 1e-3,
    }  # fmt: skip
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "killed"))
    script = SCRIPT.format(step=step, options=options)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    [work] = [p for p in (tmp_path / "killed" / "tuning").iterdir() if p.is_dir()]
    # As if the last checkpoint had been cut off while it was written.
    torn = work / f"checkpoint-{step}"
    torn.mkdir(exist_ok=True)
    (torn / "trainer_state.json").write_text("{")
    resumed = tune_checkpoint(TuneOptions(**options))
    assert resumed.report["result"]["resumed_from"] == (step - 1) // 3 * 3
    assert not list((tmp_path / "killed" / "tuning").glob("*/"))

    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert whole.report["result"]["resumed_from"] == 0
    digests = {
        hashlib.sha256((r.folder / "model.safetensors").read_bytes()).hexdigest()
        for r in (resumed, whole)
    }
    assert len(digests) == 1
    for key in ("losses", "scores", "best_step"):
        assert resumed.report["result"][key] == whole.report["result"][key]
