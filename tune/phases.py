"""Checkpoint → tuned checkpoint: the paper's phases, each taken from the cache when it is there."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from xopt.artifacts import check_place, fingerprint
from xopt.compile.build import choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.int8_form import form_of_build
from xopt.compile.recipes import check_encoder
from xopt.compile.sources import locate
from xopt.encoders.families import bert
from xopt.errors import UnsupportedError, require
from xopt.host import host_facts, tool_versions
from xopt.progress import Progress, Silent
from xopt.tune.checkpoints import remove_all
from xopt.tune.data import TaskData, load_task, open_folder
from xopt.tune.mlm import load_mlm_texts
from xopt.tune.options import TuneOptions
from xopt.tune.places import name_of
from xopt.tune.qat import calibration_facts
from xopt.tune.recipes import Numbers, decide_numbers, process_count
from xopt.tune.stage import Stage, run_stage
from xopt.tune.store import (
    TunedCheckpoint,
    copy_tuned,
    locked,
    write_tuned,
)
from xopt.tune.tasks import find_task

__all__ = ["TuneResult", "tune_checkpoint"]

TOOLS = ("xopt", "torch", "transformers", "accelerate", "tokenizers")
# What of the options moves the result of each phase; the rest are places, or resolved to numbers.
MOVING = (
    "seed", "warmup", "patience", "precision", "gradient_accumulation", "freeze_embeddings",
)  # fmt: skip
# Of the options those that hold a place.
PLACES = ("checkpoint", "data", "mlm", "translated")
MIXING = ("sampling", "temperature", "examples_cap", "mlm_share")


@dataclass(frozen=True)
class TuneResult:
    """A tuned checkpoint, and what it took.

    Attributes:
        folder: a checkpoint that transformers loads and ``xopt build`` compiles, with
            ``training.json`` in it.
        cached: nothing was trained.
        seconds: of wall time.
        report: what ``training.json`` says.
    """

    folder: Path
    cached: bool
    seconds: float
    report: dict[str, Any]


@dataclass(frozen=True)
class Parent:
    """What a phase starts from.

    Attributes:
        folder: its files.
        label: what reports call it.
        fingerprint: of the checkpoint.
        training: its own ``training.json``, if a phase made it.
    """

    folder: Path
    label: str
    fingerprint: str
    training: dict[str, Any] | None = None


def check_tunable(checkpoint: Checkpoint) -> None:
    """Refuse, before any data are read, an encoder whose modules the phases do not know.

    Raises:
        UnsupportedError: says which are known, and what to do.
    """
    if checkpoint.family is not bert.FAMILY:
        raise UnsupportedError(
            f"xopt tune trains {', '.join(bert.FAMILY.types)}; {checkpoint.source} is of the type "
            f"{checkpoint.config.model_type}.",
            hint="Tune it with transformers, then compile it: xopt build FOLDER --precision int8",
        )


def tune_checkpoint(options: TuneOptions, progress: Progress | None = None) -> TuneResult:
    """Tune what ``options`` ask for, or find that it is tuned already.

    Every phase is found by the fingerprint of its parent, its options and its data, so that several
    targets share one intermediate encoder. A phase that was cut off goes on from its last
    checkpoint, to the same weights.

    Args:
        options: what to tune.
        progress: told the phases.

    Raises:
        XoptError: a task, data, checkpoint or option that cannot be used.
    """
    begin = time.perf_counter()
    progress = progress or Silent()
    for module in ("transformers", "accelerate", "matplotlib"):
        require(module, extra="tune", why="xopt tune")
    stages = stages_of(options)
    if options.out is not None:
        check_place(Path(options.out), TunedCheckpoint.kind)
    source = locate(options.checkpoint)
    checkpoint = Checkpoint.open(source.folder, source=source.label)
    check_tunable(checkpoint)
    if options.qat:
        check_encoder(options.int8.engine, checkpoint.config, None, checkpoint.depth)
    folders = open_folder(options.data), options.translated and open_folder(options.translated)
    parent = Parent(source.folder, source.label, checkpoint.fingerprint, checkpoint.training)
    cached = True
    for stage in stages:
        progress.stage(stage.title)
        data = {
            name: load_task(
                find_task(name),
                folders[0],
                seed=options.seed,
                translated=folders[1] or None if stage.kind == "intermediate" else None,
                max_train=options.max_train_examples,
                max_dev=options.max_dev_examples,
            )
            for name in stage.tasks
        }
        out = Path(options.out) if options.out and stage is stages[-1] else None
        tuned, present = _run(stage, parent, checkpoint, data, options, out, progress)
        cached = cached and present
        parent = Parent(tuned.folder, parent.label, tuned.fingerprint, tuned.training)
    seconds = time.perf_counter() - begin
    assert parent.training is not None
    return TuneResult(parent.folder, cached, seconds, parent.training)


def stages_of(options: TuneOptions) -> list[Stage]:
    """The phases that ``options`` ask for, in order.

    Raises:
        InputError: an unknown task.
    """
    for name in (*options.intermediate, *([options.target] if options.target else [])):
        find_task(name)
    found = []
    if options.intermediate:
        found.append(Stage("intermediate", options.intermediate))
    if options.target:
        found.append(Stage("target", (options.target,)))
        if options.student_layers is not None:
            found.append(Stage("student", (options.target,)))
        if options.qat:
            found.append(Stage("qat", (options.target,)))
    return found


def _run(
    stage: Stage,
    parent: Parent,
    checkpoint: Checkpoint,
    data: Mapping[str, TaskData],
    options: TuneOptions,
    out: Path | None,
    progress: Progress,
) -> tuple[TunedCheckpoint, bool]:
    """The stage's checkpoint, and whether it was there already."""
    texts = None
    if options.mlm is not None and stage.kind == "intermediate":
        texts = load_mlm_texts(None if options.mlm == "sample" else options.mlm)
    numbers = decide_numbers(data, options, mlm=texts is not None)
    recipe = _recipe(stage, parent, options, numbers)
    facts = [task.facts for task in data.values()]
    tools = tool_versions(*TOOLS)
    # The rows themselves, wherever they were read.
    rows = [[part["task"], part["train_fingerprint"], part["dev_fingerprint"]] for part in facts]
    digest = fingerprint(
        parent.fingerprint, stage.kind, recipe, rows, tools, texts and texts.fingerprint
    )
    with locked(digest) as work:
        place = TunedCheckpoint.place(digest)
        found = TunedCheckpoint.find_whole(out or place, digest)
        if found is None and out is not None:
            elsewhere = TunedCheckpoint.find_whole(place, digest)
            found = copy_tuned(elsewhere, out) if elsewhere else None
        if found is not None:
            return found, True
        begin = time.perf_counter()
        result = run_stage(
            stage, parent.folder, checkpoint, data, options, numbers, texts, work, progress
        )
        report = {
            "schema": 1,
            "phase": stage.kind,
            "tasks": list(stage.tasks),
            "fingerprint": digest,
            "parent": {
                "checkpoint": parent.label,
                "fingerprint": parent.fingerprint,
                "training": parent.training,
            },
            "options": _named(options),
            "recipe": recipe,
            "recipe_from": {name: task.task.recipe.source for name, task in data.items()},
            "data": facts,
            "masked_texts": texts and {"corpus": texts.name, "fingerprint": texts.fingerprint},
            **result.details,
            "result": asdict(result.trained),
            "seconds": round(time.perf_counter() - begin, 1),
            "date": datetime.date.today().isoformat(),
            "host": host_facts() | {"threads": torch.get_num_threads()},
            "tools": tools,
        }
        if os.environ.get("RANK", "0") == "0":
            write_tuned(out or place, digest, result, checkpoint.folder, report)
        if torch.distributed.is_initialized():
            # The others may still be reading the best weights, and must find the result.
            torch.distributed.barrier()
        if os.environ.get("RANK", "0") == "0":
            remove_all(work)
    return TunedCheckpoint.open(out or place), False


def _named(options: TuneOptions) -> dict[str, Any]:
    """The options as a bundle may carry them on: folders by name."""
    found = asdict(options)
    found |= {name: name_of(found[name]) for name in PLACES if found[name] is not None}
    # A folder that is yet to be made cannot be told from a hub id.
    return found | {"out": options.out and Path(options.out).resolve().name}


def _recipe(stage: Stage, parent: Parent, options: TuneOptions, numbers: Numbers) -> dict[str, Any]:
    """Everything but parent and data that the weights depend on."""
    names = MOVING + (MIXING if stage.kind == "intermediate" else ())
    found = {name: getattr(options, name) for name in names} | asdict(numbers)
    if stage.kind == "student":
        found["student_layers"] = options.student_layers
    if stage.kind == "qat":
        lowering = choose_lowering(options.int8, Checkpoint.open(parent.folder))
        found["form"] = form_of_build(lowering)
        found["calibration"] = calibration_facts(options.int8)
    if process_count() > 1:
        found["processes"] = process_count()
    return found
