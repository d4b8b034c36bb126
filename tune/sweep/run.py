"""Run a sweep: here, one step after the other; every step that is done stays done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xopt.errors import InputError, XoptError
from xopt.progress import Progress, Silent
from xopt.publishing import check_outside
from xopt.tune.phases import tune_checkpoint
from xopt.tune.sweep.cells import Cell, Plan, Step
from xopt.tune.sweep.steps import TuneFunction, read_cell, remove_builds, run_step

__all__ = [
    "Failure", "Outcome", "begin", "collect", "do_step", "failure", "held", "pending_steps",
    "run_here",
]  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A step that could not be done; the cells behind it stay open.

    Attributes:
        step: its name.
        message: what was wrong.
    """

    step: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """What a sweep has: its finished cells as they were stored, its open ones, its failures."""

    results: tuple[dict[str, Any], ...]
    open: tuple[Cell, ...]
    failures: tuple[Failure, ...]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Let one sweep at a time work in a folder: a second would remove the bundles of the first.

    Raises:
        InputError: another process works there.
    """
    check_outside(folder / ".lock")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another xopt sweep is running in {folder}.",
                hint="Wait for it, or give another folder with -o.",
            ) from error
        yield


def pending_steps(plan: Plan, folder: Path) -> list[Step]:
    """The steps that open cells need, in order; a checkpoint nobody waits for is not tuned."""
    wanted: set[str] = set()
    for step in reversed(plan.steps):
        if step.kind == "measure":
            if all(read_cell(folder, cell) is not None for cell in plan.cells_of(step)):
                continue
            wanted.add(step.fingerprint)
        if step.fingerprint in wanted and step.after is not None:
            wanted.add(step.after)
    return [step for step in plan.steps if step.fingerprint in wanted]


def begin(plan: Plan, folder: Path) -> list[Step]:
    """The pending steps; what a killed run left behind of finished ones is removed."""
    pending = pending_steps(plan, folder)
    if not plan.experiment.keep_bundles:
        for step in plan.steps:
            if step.kind == "measure" and step not in pending:
                remove_builds(folder, step)
    return pending


def run_here(
    plan: Plan,
    folder: Path,
    progress: Progress | None = None,
    tune: TuneFunction = tune_checkpoint,
) -> Outcome:
    """Do all pending steps on this machine.

    A step that fails is noted, what rests on it is passed over, and the others are done.

    Args:
        plan: what to do.
        folder: the sweep's.
        progress: told the stages.
        tune: tunes.
    """
    progress = progress or Silent()
    pending = begin(plan, folder)
    failed: dict[str, Failure] = {}
    for number, step in enumerate(pending, 1):
        if step.after in failed:
            failed[step.fingerprint] = Failure(step.name, f"rests on {failed[step.after].step}")
            continue
        progress.stage(f"step {number} of {len(pending)}: {step.kind} {step.name}")
        try:
            do_step(plan, step, folder, progress, tune)
        except Exception as error:
            failed[step.fingerprint] = failure(step, error)
    return collect(plan, folder, list(failed.values()))


def do_step(
    plan: Plan, step: Step, folder: Path, progress: Progress | None, tune: TuneFunction
) -> None:
    """One step between two lines of the journal; a third says what went wrong."""
    _note(folder, step, "started")
    start = time.perf_counter()
    try:
        run_step(plan, step, folder, progress, tune)
    except Exception as error:
        _note(folder, step, "failed", message=failure(step, error).message)
        raise
    _note(folder, step, "finished", seconds=round(time.perf_counter() - start, 3))


def collect(plan: Plan, folder: Path, failures: Sequence[Failure] = ()) -> Outcome:
    """The cells as far as they are there; one result stands at every seed that does not move it."""
    results: list[dict[str, Any]] = []
    missing: list[Cell] = []
    for cell in plan.cells:
        found = read_cell(folder, cell)
        if found is None:
            missing.append(cell)
        else:
            results.append(found | {"cell": cell.facts()})
    return Outcome(tuple(results), tuple(missing), tuple(failures))


def _note(folder: Path, step: Step, event: str, **more: Any) -> None:
    """Add a line to ``journal.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": now, "event": event, "kind": step.kind, "step": step.name, **more}
    with (folder / "journal.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def failure(step: Step, error: Exception) -> Failure:
    """What is noted of a step that raised ``error``."""
    if isinstance(error, XoptError):
        return Failure(step.name, str(error))
    return Failure(step.name, f"{type(error).__name__}: {error}")
