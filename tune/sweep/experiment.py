"""``EXPERIMENT.toml``: what a sweep compares, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from xopt.compile.build import BuildOptions
from xopt.compile.builders import engine_of
from xopt.compile.recipes import PRECISIONS
from xopt.errors import InputError, did_you_mean
from xopt.evaluate.options import EvalOptions
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.conventions import make_task
from xopt.forms import spelled
from xopt.reading import parse_toml, read_text
from xopt.settings import fits
from xopt.tune.options import MOST_SEED, TuneOptions
from xopt.tune.tasks import find_task

__all__ = ["CellOptions", "Experiment", "RaySettings", "read_experiment"]

NONE = "none"
LIKE = "docs/sweep.md shows what one looks like."
# The target whose examples are no good apart from the others of their language.
UNCUT = "bucc2018"
# What the sweep itself sets.
TUNE_KEYS_TAKEN = ("checkpoint", "intermediate", "target", "data", "seed", "student_layers", "qat",
                   "qat_target", "qat_precision", "cpu", "out")  # fmt: skip
# What phase 3 has no use for.
PHASE_2_KEYS = ("mlm", "translated")
BUILD_KEYS_TAKEN = ("checkpoint", "precision", "target", "out")

Table = Mapping[str, Any]


@dataclass(frozen=True)
class CellOptions(EvalOptions):
    """``[eval]``: how every cell is measured.

    Attributes:
        languages: only these, where a task's data has them; all at hand if empty.
        limit: examples of each language, the first ones; all if None. Not for ``bucc2018``.
        conventions: by task, such as ``panx = {split = "validation"}``.
    """

    languages: tuple[str, ...] = ()
    limit: int | None = None
    conventions: Mapping[str, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        object.__setattr__(self, "languages", tuple(self.languages))
        if self.limit is not None and self.limit < 1:
            raise InputError(f"[eval] limit is {self.limit}; possible: 1 and above.")
        if not isinstance(self.conventions, Mapping):
            raise InputError(f"[eval] conventions is {spelled(self.conventions)}, not a section.")
        for name, asked in self.conventions.items():
            if not isinstance(asked, Mapping):
                raise InputError(f"[eval.conventions] {name} is {spelled(asked)}, not a section.")
            own = {entry.name: entry.default for entry in fields(TASKS.resolve(name))}
            for key, value in asked.items():
                if key not in own:
                    raise InputError(
                        f"The task {name} has no convention {key!r}.", hint=did_you_mean(key, own)
                    )
                if type(value) is not type(own[key]):
                    raise InputError(f"{name}: {key} is {spelled(value)}, of the wrong type.")
            make_task(name, asked)


@dataclass(frozen=True)
class RaySettings:
    """``[ray]``: what one step asks of the cluster.

    Attributes:
        cpus: of a tuning step.
        gpus: of a tuning step.
        measure_cpus: of a measuring step; all of a node if None, so that nothing runs beside it.
    """

    cpus: int = 1
    gpus: float = 0
    measure_cpus: int | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        counts = [n for n in (self.cpus, self.measure_cpus) if n is not None]
        if min(counts) < 1 or not 0 <= self.gpus < math.inf:
            raise InputError("[ray] takes at least one CPU, and 0 GPUs or a number of them.")


@dataclass(frozen=True)
class Experiment:
    """The axes of a sweep, and the settings that all cells share.

    Attributes:
        name: of the sweep, and of its folder.
        checkpoints: what phase 1 left: folders, hub ids or ``pip:multilingual-e5-small``.
        intermediates: tasks of phase 2; ``none``, ``mnli``, or several at once as ``mnli+squad``.
        targets: tasks of XTREME; those of retrieval take the encoder as phase 2 left it.
        precisions: as of ``xopt build``.
        engines: as of ``xopt build --target``; a precision that one does not have is left out.
        seeds: of the tuning.
        student_layers: depths to distil to; 0 stands for no distillation.
        qat: without, with, or both: quantization-aware tuning.
        data: folder of the training and evaluation data, ``hub``, or None.
        keep_bundles: leave each bundle where it was built, and its stages in the cache.
        tune: ``intermediate``, ``target`` and tasks by name: keys of ``[tune]``.
        build: keys of ``[build]``.
        eval: how cells are measured.
        ray: what steps ask of a cluster.
    """

    name: str
    checkpoints: tuple[str, ...]
    targets: tuple[str, ...]
    intermediates: tuple[str, ...] = (NONE,)
    precisions: tuple[str, ...] = ("fp32", "int8")
    engines: tuple[str, ...] = ("openvino",)
    seeds: tuple[int, ...] = (0,)
    student_layers: tuple[int, ...] = (0,)
    qat: tuple[bool, ...] = (False,)
    data: str | None = None
    keep_bundles: bool = False
    tune: Mapping[str, Table] = field(default_factory=dict)
    build: Table = field(default_factory=dict)
    eval: CellOptions = field(default_factory=CellOptions)
    ray: RaySettings = field(default_factory=RaySettings)

    def __post_init__(self) -> None:
        """Check each axis and each table."""
        _check_axes(self)
        for engine in self.engines:
            engine_of(engine)
        for target in self.targets:
            TASKS.resolve(target)
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise InputError(
                    f"Unknown precision {precision!r}.", hint=did_you_mean(precision, PRECISIONS)
                )
        if self.eval.limit is not None and UNCUT in self.targets:
            raise InputError(
                f"[eval] limit cannot cut {UNCUT}: the true pairs lie anywhere in its corpora.",
                hint=f"Leave limit out, or sweep {UNCUT} in a file of its own.",
            )
        trained = [part for name in self.intermediates for part in tasks_of(name)]
        for name in (*trained, *(t for t in self.targets if TASKS.resolve(t).head != "embed")):
            find_task(name)
        sections = ("intermediate", "target", *trained, *self.targets)
        for section, table in self.tune.items():
            if section not in sections:
                raise InputError(
                    f"[tune.{section}] is no phase or task of this sweep.",
                    hint=did_you_mean(section, sections),
                )
            _check_keys(f"tune.{section}", table, TuneOptions, TUNE_KEYS_TAKEN)
            TuneOptions(intermediate=("mnli",), target="xnli", **table)
            phase_2 = [key for key in PHASE_2_KEYS if key in table]
            if phase_2 and (section == "target" or section in self.targets):
                raise InputError(
                    f"[tune.{section}] {phase_2[0]} is data of phase 2.",
                    hint="Put it into [tune.intermediate], or into the section of a task there.",
                )
        _check_keys("build", self.build, BuildOptions, BUILD_KEYS_TAKEN)
        BuildOptions(**self.build)

    def settings_for(self, phase: str, tasks: Sequence[str]) -> dict[str, Any]:
        """Of ``[tune]``: the phase's table, then those of its tasks."""
        found: dict[str, Any] = {}
        for section in (phase, *tasks):
            found |= self.tune.get(section, {})
        return found


def tasks_of(intermediate: str) -> tuple[str, ...]:
    """``mnli+squad`` as two tasks, ``none`` as no task."""
    return () if intermediate == NONE else tuple(intermediate.split("+"))


def read_experiment(path: Path, *, data: str | None = None) -> Experiment:
    """Read a sweep's file.

    Args:
        path: TOML. Relative folders in it are relative to the file's own.
        data: instead of the file's ``data``; relative to the working folder.

    Raises:
        InputError: no such file, damaged, or a key or value that no sweep has.
    """
    try:
        document = parse_toml(read_text(path, error=InputError))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", hint=LIKE) from error
    except (ValueError, IsADirectoryError) as error:
        raise InputError(f"{path} is no readable TOML file: {error}.", hint=LIKE) from error
    given = {key.replace("-", "_"): value for key, value in document.items()}
    given.setdefault("name", path.stem)
    names = [entry.name for entry in fields(Experiment)]
    for key in given:
        if key not in names:
            raise InputError(f"{path}: there is no {key!r}.", hint=did_you_mean(key, names))
    for key in ("checkpoints", "targets"):
        if key not in given:
            raise InputError(f"{path}: {key} is missing.", hint=f'Such as {key} = ["..."].')
    try:
        given |= {
            "eval": _settings(CellOptions, "eval", given.get("eval", {})),
            "ray": _settings(RaySettings, "ray", given.get("ray", {})),
            "checkpoints": [_beside(path.parent, name) for name in _list(given, "checkpoints")],
            "data": _beside(Path(), data) if data else _beside(path.parent, given.get("data")),
        }
        found = Experiment(**given)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    # Found out later, it would cost the tunings that need no row of it.
    if found.data not in (None, "hub", "sample") and not Path(found.data).is_dir():
        raise InputError(
            f"There is no data folder {found.data}.",
            hint="Give a folder in the layout of google/xtreme (docs/sweep.md), or type: "
            "--data sample",
        )
    return found


def _check_axes(experiment: Experiment) -> None:
    kinds: dict[str, Callable[[Any], bool]] = {
        "checkpoints": lambda v: isinstance(v, str), "targets": lambda v: isinstance(v, str),
        "intermediates": lambda v: isinstance(v, str) and all(v.split("+")),
        "precisions": lambda v: isinstance(v, str), "engines": lambda v: isinstance(v, str),
        "seeds": lambda v: type(v) is int and 0 <= v <= MOST_SEED,
        "student_layers": lambda v: type(v) is int and v >= 0,
        "qat": lambda v: isinstance(v, bool),
    }  # fmt: skip
    for axis, fits_axis in kinds.items():
        values = getattr(experiment, axis)
        if not isinstance(values, list | tuple) or not values:
            raise InputError(f"{axis} is {spelled(values)}; it is a list of at least one value.")
        wrong = [value for value in values if not fits_axis(value)]
        if wrong:
            raise InputError(f"{axis} cannot hold {spelled(wrong[0])}.")
        if len(set(values)) != len(values):
            raise InputError(f"{axis} names a value twice: {spelled(list(values))}.")
        object.__setattr__(experiment, axis, tuple(values))
    named = spelled(experiment.name)
    if not isinstance(experiment.name, str) or not experiment.name.strip("."):
        raise InputError(f"name is {named}; it is a word that can name a folder.")
    if "/" in experiment.name or "\\" in experiment.name:
        raise InputError(f"name is {named}; it names a folder and has no slash.")
    if not isinstance(experiment.data, str | None):
        raise InputError(f"data is {spelled(experiment.data)}; it names a folder, or is hub.")
    if not isinstance(experiment.keep_bundles, bool):
        raise InputError(f"keep_bundles is {spelled(experiment.keep_bundles)}: not true or false.")
    for name in ("tune", "build"):
        table = getattr(experiment, name)
        if not isinstance(table, Mapping):
            raise InputError(f"{name} is {spelled(table)}, not a section [{name}].")


def _check_keys(section: str, table: Any, kind: type, taken: Sequence[str]) -> None:
    if not isinstance(table, Mapping):
        raise InputError(f"[{section}] is {spelled(table)}, not a section.")
    for key in table:
        if key in taken:
            raise InputError(f"[{section}] {key} is set by the sweep itself.")
    possible = {k: v for k, v in get_type_hints(kind).items() if k not in taken}
    for key, value in table.items():
        if key not in possible:
            raise InputError(f"[{section}] has no {key!r}.", hint=did_you_mean(key, possible))
        if not fits(value, possible[key]):
            raise InputError(f"[{section}] {key} is {spelled(value)}, which is of the wrong type.")


def _settings(kind: type[Any], section: str, table: Any) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(f"{section} is {spelled(table)}, not a section [{section}].")
    _check_keys(section, {k: v for k, v in table.items() if k != "conventions"}, kind, ())
    return kind(**table)


def _list(given: Table, key: str) -> list[Any]:
    value = given[key]
    if not isinstance(value, list):
        raise InputError(f"{key} is {spelled(value)}; it is a list of at least one value.")
    return value


def _beside(root: Path, name: Any) -> Any:
    """A folder that lies relative to ``root``, in full; other names as they are."""
    if not isinstance(name, str):
        return name
    place = Path(name).expanduser()
    beside = root / place
    return str(beside.resolve()) if beside.is_dir() else name
