"""What a step does: tune a checkpoint, or build its bundles and measure each of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import locate
from xopt.errors import InputError
from xopt.evaluate.comparing import compare_bundles
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import SIDES
from xopt.evaluate.tasks import Task
from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.conventions import make_task
from xopt.hashing import using_cache
from xopt.languages import to_iso1
from xopt.progress import Progress, Silent
from xopt.publishing import write_whole
from xopt.reading import parse_json
from xopt.tune.options import TuneOptions
from xopt.tune.phases import TuneResult, tune_checkpoint
from xopt.tune.sweep.cells import Cell, Plan, Step

__all__ = [
    "TuneFunction", "cell_path", "first_examples", "read_cell", "remove_builds", "run_step",
    "write_json",
]  # fmt: skip

TuneFunction = Callable[[TuneOptions, Progress | None], TuneResult]
# What every other precision is compared with, on whichever engine.
REFERENCE = ("fp32", "openvino")


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a sweep in ``folder`` keeps a cell."""
    return folder / "cells" / f"{cell.fingerprint[:20]}.json"


def read_cell(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """A finished cell; None while it is not finished."""
    try:
        found = parse_json(cell_path(folder, cell).read_bytes())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and found.get("fingerprint") == cell.fingerprint
    return found if whole else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document whole, or not at all."""
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False))


def run_step(
    plan: Plan,
    step: Step,
    folder: Path,
    progress: Progress | None = None,
    tune: TuneFunction = tune_checkpoint,
) -> None:
    """Do one step; those it rests on are done.

    Args:
        plan: of the sweep.
        step: of the plan.
        folder: the sweep's; every machine that takes part sees it under this path.
        progress: told the stages.
        tune: tunes.

    Raises:
        XoptError: of the tuning, the building or the evaluation.
    """
    progress = progress or Silent()
    before = plan.by_fingerprint[step.after] if step.after else None
    checkpoint = str(_tuned(folder, before)) if before else step.options["checkpoint"]
    if step.kind == "tune":
        options = dict(step.options) | {"checkpoint": checkpoint, "out": str(_tuned(folder, step))}
        result = tune(TuneOptions(**options), progress)
        write_json(
            folder / "tuned" / f"{step.name}.json",
            {"seconds": result.seconds, "cached": result.cached, "report": result.report},
        )
        return
    _measure(plan, step, checkpoint, folder, progress)


def remove_builds(folder: Path, step: Step) -> None:
    """Remove the bundles and the scratch cache of a measuring step."""
    for made in ("scratch", "bundles"):
        shutil.rmtree(folder / made / step.name, ignore_errors=True)


def _tuned(folder: Path, step: Step) -> Path:
    return folder / "tuned" / step.name


def _measure(plan: Plan, step: Step, checkpoint: str, folder: Path, progress: Progress) -> None:
    """Fill every unfinished cell of a checkpoint; the fp32 cell comes with the first of them."""
    cells = [cell for cell in plan.cells_of(step) if read_cell(folder, cell) is None]
    settings = plan.experiment.eval
    task = make_task(step.options["task"], settings.conventions.get(step.options["task"], {}))
    source = open_source(plan.experiment.data, probe=task.probe())
    if settings.limit is not None:
        task = first_examples(task, settings.limit)
        source = replace(source, label=f"{source.label}, first {settings.limit} of each language")
    languages = _languages(task.on(source), source, settings.languages)
    pairs = {(cell.precision, cell.engine): cell for cell in cells}
    others = [pair for pair in pairs if pair != REFERENCE]
    with _bundles(plan, step, checkpoint, folder, progress) as build:
        reference, reference_s = build(*REFERENCE)
        for pair in others or [REFERENCE]:
            candidate, build_s = build(*pair) if pair != REFERENCE else (reference, reference_s)
            progress.stage(f"{step.options['task']}: {pair[0]} against fp32")
            partial = Partial(folder / "partial")
            start = time.perf_counter()
            report = compare_bundles(
                task, source, reference, candidate, settings, languages=languages,
                partial=partial, command="xopt sweep", report=_share(languages, progress),
            )  # fmt: skip
            seconds = {"evaluate": time.perf_counter() - start}
            filled = {pair: (candidate, build_s)} | {REFERENCE: (reference, reference_s)}
            for done, (bundle, took) in filled.items():
                cell = pairs.get(done)
                if cell is not None and read_cell(folder, cell) is None:
                    side = SIDES[0] if done == REFERENCE else SIDES[1]
                    facts = _facts(cell, report, side, bundle, seconds | {"build": took})
                    write_json(cell_path(folder, cell), facts)
            partial.clear()


def _share(languages: list[str], progress: Progress) -> Callable[[str, str, float], None]:
    """From the progress of a language and a side to that of the whole."""

    def report(language: str, side: str, share: float) -> None:
        done = languages.index(language) + (SIDES.index(side) + share) / len(SIDES)
        progress.share(done / len(languages))

    return report


def first_examples(task: Task, limit: int) -> Task:
    """The same task with only the first examples of each language.

    XNLI and TyDiQA keep all languages in one file, so that not its rows are cut but what is loaded.
    """

    def load(self: Task, source: Source, language: str) -> Examples:
        return task.load(source, language)[:limit]

    kind = type(type(task).__name__, (type(task),), {"load": load})
    cut: Task = kind(**{entry.name: getattr(task, entry.name) for entry in fields(task)})
    return cut


def _languages(task: Task, source: Source, asked: tuple[str, ...]) -> list[str]:
    """Those of the asked languages that the task's data has; all of them if none is asked for.

    Raises:
        InputError: none is left.
    """
    available = task.available(source)
    wanted = {to_iso1(code) for code in asked}
    found = [code for code in available if not wanted or to_iso1(code) in wanted]
    if not found:
        raise InputError(
            f"{source.label} holds none of the sweep's languages for {task.name}.",
            hint=f"It holds: {', '.join(available) or 'nothing in this split'}.",
        )
    return found


Build = Callable[[str, str], tuple[Bundle, float]]


@contextlib.contextmanager
def _bundles(
    plan: Plan, step: Step, checkpoint: str, folder: Path, progress: Progress
) -> Iterator[Build]:
    """Yield what builds a bundle; on exit the bundles and their stages are gone, unless kept.

    A bundle of fp32 and what it is made from take four times the checkpoint's size. A scratch
    cache of the step's own is removed whole, and no other step's files are touched.
    """
    place = folder / "bundles" / step.name
    settings = dict(plan.experiment.build)
    if make_task(step.options["task"], {}).head != "embed":
        settings = {k: v for k, v in settings.items() if k not in ("layer", "pooling")}
    located = str(locate(checkpoint).folder)

    def build(precision: str, engine: str) -> tuple[Bundle, float]:
        out = str(place / f"{precision}-{engine}")
        options = BuildOptions(
            checkpoint=located, precision=precision, target=engine, out=out, **settings
        )
        result = build_bundle(options, progress, record=False)
        return result.bundle, result.seconds

    if plan.experiment.keep_bundles:
        yield build
        return
    scratch = folder / "scratch" / step.name
    try:
        with using_cache(scratch):
            yield build
    finally:
        remove_builds(folder, step)


def _facts(
    cell: Cell, report: Mapping[str, Any], side: str, bundle: Bundle, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What is kept of a cell: a JSON object."""
    languages = report["languages"]
    compared = side == "candidate"
    found: dict[str, Any] = {
        "fingerprint": cell.fingerprint,
        "cell": cell.facts(),
        "metric": report["metric"],
        "conventions": report["conventions"],
        "data": report["data"],
        "languages": {code: {"n": f["n"], "score": f[side]} for code, f in languages.items()},
        "mean": report["mean"][side],
        # A predicted bundle was answered by another engine, whose speed is not its own.
        "throughput": None
        if compared and report.get("predicted")
        else report["throughput" if compared else "reference_throughput"],
        "bundle": {"fingerprint": bundle.fingerprint, "size_mib": bundle.size_mib},
        "seconds": dict(seconds),
        "host": report["host"],
    }
    if compared:
        keys = ("difference", "ci95", "agreement")
        found["retention"] = {
            "mean": report["mean"]["difference"],
            "languages": {code: {k: f[k] for k in keys} for code, f in languages.items()},
        }
    return found
