"""A phase that was killed goes on to the same bytes as one that was not."""

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xopt.tune import phases, training
from xopt.tune.options import TuneOptions
from xopt.tune.phases import TuneResult, tune_checkpoint

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


class CutOffError(Exception):
    """Stands for the end of a process."""


class CutOff:
    """Ends the run in the stage of this name, once this share of it is done."""

    def __init__(self, stage: str, done: float) -> None:
        self.wanted, self.done, self.name = stage, done, ""

    def stage(self, name: str) -> None:
        self.name = name

    def share(self, done: float) -> None:
        if self.name.startswith(self.wanted) and done >= self.done:
            raise CutOffError


def digest_of(result: TuneResult) -> str:
    return hashlib.sha256((result.folder / "model.safetensors").read_bytes()).hexdigest()


def small_options(make_checkpoint: Any, toy_data: Any, task: str, **more: Any) -> dict[str, Any]:
    """A phase 3 of a few steps, each of them looked at."""
    return {
        "checkpoint": str(make_checkpoint("bert")), "target": task,
        "data": str(toy_data(task, train=24, dev=8)), "evaluate_every": 1,
        "batch": 4, "max_tokens": 48, "lr": 1e-3,
    } | more  # fmt: skip


def cut_off_before_the_result(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is taken, and nothing is written under the final name."""

    def stop(*_: Any) -> None:
        raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(phases, "write_tuned", stop)
        with pytest.raises(CutOffError):
            tune_checkpoint(TuneOptions(**options))


@pytest.mark.parametrize(
    ("stage", "more"),
    [("phase 3", {}), ("student", {"student_layers": 1}), ("qat", {"qat": True})],
)
def test_a_later_phase_that_was_cut_off_gives_the_same_bytes(
    stage: str,
    more: dict[str, Any],
    make_checkpoint: Any,
    toy_data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = small_options(make_checkpoint, toy_data, "panx", max_steps=3, **more)
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cut"))
    with pytest.raises(CutOffError):
        tune_checkpoint(TuneOptions(**options), CutOff(stage, 2 / 3))
    resumed = tune_checkpoint(TuneOptions(**options))
    assert resumed.report["result"]["resumed_from"] == 1
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert whole.report["result"]["resumed_from"] == 0
    assert digest_of(resumed) == digest_of(whole)
    for key in ("losses", "scores", "best_step"):
        assert resumed.report["result"][key] == whole.report["result"][key]


def test_a_phase_cut_off_after_its_patience_ran_out_trains_no_further(
    make_checkpoint: Any, toy_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At such a rate no score moves: the second look is the last.
    options = small_options(make_checkpoint, toy_data, "mnli", max_steps=6, lr=1e-9, patience=1)

    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cut"))
    cut_off_before_the_result(options, monkeypatch)
    resumed = tune_checkpoint(TuneOptions(**options))
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert whole.report["result"]["steps"] == 2
    assert digest_of(resumed) == digest_of(whole)
    clocked = ("resumed_from", "tokens_per_s")
    ours, theirs = (
        {k: v for k, v in found.report["result"].items() if k not in clocked}
        for found in (resumed, whole)
    )
    assert ours == theirs
    assert resumed.report["result"]["resumed_from"] == 2


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
    assert digest_of(resumed) == digest_of(whole)
    for key in ("losses", "scores", "best_step"):
        assert resumed.report["result"][key] == whole.report["result"][key]


# Of each step: the best is not the newest while there is one to remove, and in the end it is.
SCORES = {1: 50.0, 2: 40.0, 3: 45.0, 4: 60.0}


@pytest.mark.parametrize("removal", [1, 2, 4])
def test_killed_while_it_removed_a_checkpoint_gives_the_same_bytes(
    removal: int,
    make_checkpoint: Any,
    toy_data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = small_options(make_checkpoint, toy_data, "panx", max_steps=4)
    monkeypatch.setattr(
        training._Trainer, "_score", lambda trainer, *_: SCORES[trainer.state.global_step]
    )
    left = removal

    def tear(folder: Any, **_: Any) -> None:
        # What the Trainer can do without, and then goes on from another state.
        nonlocal left
        if "checkpoint-" in Path(folder).name:
            left -= 1
            if left == 0:
                for name in ("optimizer.pt", "rng_state.pth"):
                    (Path(folder) / name).unlink()
                raise CutOffError
        remove(folder, ignore_errors=True)

    remove = shutil.rmtree
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cut"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", tear)
        with pytest.raises(CutOffError):
            tune_checkpoint(TuneOptions(**options, out=str(tmp_path / "first")))
    resumed = tune_checkpoint(TuneOptions(**options, out=str(tmp_path / "again")))
    assert not list((tmp_path / "cut" / "tuning").glob("*/"))
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert digest_of(resumed) == digest_of(whole)
    assert resumed.report["result"]["losses"] == whole.report["result"]["losses"]


def test_the_curve_of_a_resumed_phase_is_the_whole_ones(
    make_checkpoint: Any, toy_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A point of the curve stands for two steps, and a checkpoint lies between two points.
    monkeypatch.setattr(training, "CURVE_POINTS", 2)
    options = small_options(make_checkpoint, toy_data, "panx", max_steps=5, evaluate_every=3)
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cut"))
    with pytest.raises(CutOffError):
        tune_checkpoint(TuneOptions(**options), CutOff("phase 3", 4 / 5))
    resumed = tune_checkpoint(TuneOptions(**options))
    assert resumed.report["result"]["resumed_from"] == 3
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert resumed.report["result"]["losses"] == whole.report["result"]["losses"]


def test_cut_off_between_its_last_step_and_the_result_gives_the_same_files(
    make_checkpoint: Any, toy_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is left to take, and none may be needed for what is written."""
    options = small_options(make_checkpoint, toy_data, "mnli", max_steps=2)

    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cut"))
    cut_off_before_the_result(options, monkeypatch)
    resumed = tune_checkpoint(TuneOptions(**options))
    assert resumed.report["result"]["resumed_from"] == 2
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "whole"))
    whole = tune_checkpoint(TuneOptions(**options))
    assert digest_of(resumed) == digest_of(whole)
    for name in ("config.json", "tokenizer.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
