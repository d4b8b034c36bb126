"""The cells of a sweep, the steps that fill them, and what each is known by.

A step tunes, or builds and measures. Its fingerprint covers its options, the data and the steps it
rests on; what two cells share (the encoder that phase 2 left, an fp32 reference) is one step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from xopt.artifacts import fingerprint
from xopt.compile.builders import engine_of
from xopt.compile.recipes import LOWERINGS
from xopt.errors import InputError
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import make_task
from xopt.hashing import sha256_file_cached
from xopt.host import tool_versions
from xopt.tune.sweep.experiment import Experiment, tasks_of
from xopt.tune.tasks import find_task

__all__ = ["Cell", "Plan", "Step", "plan_sweep"]

DATA_FILES = (".parquet", ".jsonl", ".txt", ".auto")


@dataclass(frozen=True)
class Cell:
    """One place in the tables.

    Attributes:
        fingerprint: of all that its result depends on.
        step: fingerprint of the step that measures it.
    """

    checkpoint: str
    intermediate: str
    target: str
    seed: int
    precision: str
    engine: str
    student_layers: int
    qat: bool
    fingerprint: str = ""
    step: str = ""

    @property
    def label(self) -> str:
        """In one line."""
        extra = f", {self.student_layers} layers" if self.student_layers else ""
        extra += ", QAT" if self.qat else ""
        return (
            f"{self.intermediate} → {self.target}, seed {self.seed}{extra}, "
            f"{self.precision} on {self.engine}"
        )

    def facts(self) -> dict[str, Any]:
        """As a JSON object, without the step."""
        return {key: value for key, value in asdict(self).items() if key != "step"}


@dataclass(frozen=True)
class Step:
    """Something to do once.

    Attributes:
        kind: ``tune``, or ``measure`` for building and evaluating.
        fingerprint: of the options, the data and the steps before.
        name: of its folder.
        options: for ``tune``, of :class:`~xopt.tune.options.TuneOptions`; for ``measure``, the
            task; both with the checkpoint if no step made it.
        after: the tuning step whose checkpoint this one takes, if any.
    """

    kind: Literal["tune", "measure"]
    fingerprint: str
    name: str
    options: Mapping[str, Any]
    after: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything a sweep does.

    Attributes:
        experiment: as read.
        cells: in the order of the axes.
        steps: in an order that respects ``after``.
        left_out: combinations that cannot be, each with the reason.
    """

    experiment: Experiment
    cells: tuple[Cell, ...]
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]

    @cached_property
    def by_fingerprint(self) -> dict[str, Step]:
        """The steps."""
        return {step.fingerprint: step for step in self.steps}

    def cells_of(self, step: Step) -> list[Cell]:
        """Those that a measuring step fills; cells that differ in nothing (a seed) only once."""
        found = {c.fingerprint: c for c in self.cells if c.step == step.fingerprint}
        return list(found.values())


def plan_sweep(experiment: Experiment) -> Plan:
    """List the cells and the steps.

    Raises:
        InputError: no cell is possible, or one would be scored on what it is trained on.
    """
    for target in experiment.targets:
        _check_unseen(experiment, target)
    planner = _Planner(experiment, fingerprint(_data_facts(experiment.data), _tools()))
    cells = list(planner.cells())
    if not cells:
        raise InputError(
            f"The sweep {experiment.name} has no cell that can be.",
            hint="; ".join(planner.left_out) + ".",
        )
    return Plan(experiment, tuple(cells), tuple(planner.steps.values()), tuple(planner.left_out))


def _check_unseen(experiment: Experiment, target: str) -> None:
    """Refuse to score a target on the rows, or on translations of the rows, that are trained on."""
    task = make_task(target, experiment.eval.conventions.get(target, {}))
    if task.head == "embed":
        return
    scored = (task.config_of("en"), task.split)
    trained = [part for name in experiment.intermediates for part in tasks_of(name)]
    for name in (*trained, target):
        tuned = find_task(name)
        seen = {(part.config, part.split) for part in tuned.train}
        seen |= {(folder, tuned.train_split) for folder in tuned.folders}
        if scored in seen:
            raise InputError(
                f"{target} would be scored on {'/'.join(scored)}, whose English rows {name} is "
                "trained on.",
                hint=f"Give another split in [eval.conventions.{target}], or leave {name} out.",
            )


def _tools() -> dict[str, str]:
    return tool_versions("xopt", "torch", "transformers", "openvino")


def _data_facts(data: str | None) -> Any:
    """The name of a hub; of a folder its files, so that other data are other cells."""
    if data is None or not Path(data).is_dir():
        return data
    folder = Path(data)
    files = sorted(p for p in folder.rglob("*") if p.suffix in DATA_FILES)
    return [[p.relative_to(folder).as_posix(), sha256_file_cached(p)] for p in files]


def _checkpoint_facts(name: str) -> Any:
    """A checkpoint's name, and of a folder what it holds."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors"))
    return [[path.name, sha256_file_cached(path)] for path in files]


class _Planner:
    """Collects steps while it names the cells."""

    def __init__(self, experiment: Experiment, data: str) -> None:
        self.experiment, self.data = experiment, data
        self.steps: dict[str, Step] = {}
        self.left_out: dict[str, None] = {}

    def cells(self) -> Iterator[Cell]:
        """All cells that can be, their steps noted."""
        e = self.experiment
        for checkpoint, student, qat, target, intermediate, seed in itertools.product(
            e.checkpoints, e.student_layers, e.qat, e.targets, e.intermediates, e.seeds
        ):
            if (student or qat) and TASKS.resolve(target).head == "embed":
                what = "distillation" if student else "quantization-aware tuning"
                self.left_out[f"{target}: it has no phase 3, so no {what}"] = None
                continue
            for engine, precision in itertools.product(e.engines, e.precisions):
                engine = engine_of(engine)
                if (engine, precision) not in LOWERINGS:
                    self.left_out[f"{precision} on {engine}: this engine does not have it"] = None
                    continue
                cell = Cell(checkpoint, intermediate, target, seed, precision, engine, student, qat)
                yield self._placed(cell)

    def _placed(self, cell: Cell) -> Cell:
        """The cell with its fingerprint and the step that measures it."""
        tuned = self._tuned(cell)
        step = self._measured(cell, tuned)
        digest = fingerprint(step.fingerprint, cell.precision, cell.engine)
        return replace(cell, fingerprint=digest, step=step.fingerprint)

    def _tuned(self, cell: Cell) -> Step | None:
        """The last tuning step of a cell; None where the checkpoint is taken as it is."""
        tasks = tasks_of(cell.intermediate)
        step = None
        if tasks:
            options = {"intermediate": tasks} | self.experiment.settings_for("intermediate", tasks)
            step = self._tune(cell, options, f"{cell.intermediate}-s{cell.seed}", None)
        if TASKS.resolve(cell.target).head == "embed":
            return step
        options = {"target": cell.target} | self.experiment.settings_for("target", [cell.target])
        if cell.student_layers:
            options["student_layers"] = cell.student_layers
        if cell.qat:
            options |= {"qat": True} | self._form()
        name = f"{cell.target}-from-{cell.intermediate}-s{cell.seed}"
        name += f"-l{cell.student_layers}" if cell.student_layers else ""
        return self._tune(cell, options, name + ("-qat" if cell.qat else ""), step)

    def _form(self) -> dict[str, Any]:
        """What ``--qat`` rounds as: the first INT8 that is built; what is no default of it."""
        e = self.experiment
        for engine, precision in itertools.product(map(engine_of, e.engines), e.precisions):
            lowering = LOWERINGS.get((engine, precision))
            if lowering is None or lowering.activations == "none":
                continue
            found = {} if lowering.activations == "uint8" else {"qat_target": engine}
            found |= {} if precision == "int8" else {"qat_precision": precision}
            return found | ({} if found or e.build.get("cpu") is None else {"cpu": e.build["cpu"]})
        return {}

    def _tune(self, cell: Cell, options: dict[str, Any], name: str, before: Step | None) -> Step:
        options |= {"seed": cell.seed, "data": self.experiment.data}
        if before is None:
            options["checkpoint"] = cell.checkpoint
        own = {key: value for key, value in options.items() if key != "data"}
        parent = before.fingerprint if before else _checkpoint_facts(cell.checkpoint)
        after = before.fingerprint if before else None
        # Of the folder, not of the data: `tune` knows itself which of the data it has seen.
        place = f"{name}-{fingerprint(before.name if before else None, own)[:8]}"
        digest = fingerprint("tune", own, self.data, parent)
        return self.steps.setdefault(digest, Step("tune", digest, place, options, after))

    def _measured(self, cell: Cell, tuned: Step | None) -> Step:
        """The step that measures a checkpoint at every precision and on every engine."""
        e = self.experiment
        options: dict[str, Any] = {"task": cell.target}
        if tuned is None:
            options["checkpoint"] = cell.checkpoint
        source = tuned.fingerprint if tuned else _checkpoint_facts(cell.checkpoint)
        # The conventions of other tasks are no matter of this one's.
        settings = asdict(e.eval) | {"conventions": dict(e.eval.conventions.get(cell.target, {}))}
        digest = fingerprint("measure", source, self.data, options, settings, dict(e.build))
        name = f"{tuned.name if tuned else 'untuned'}-on-{cell.target}-{digest[:8]}"
        step = Step("measure", digest, name, options, tuned.fingerprint if tuned else None)
        return self.steps.setdefault(digest, step)
