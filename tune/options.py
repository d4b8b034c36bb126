"""What to tune: every choice that can move the result, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xopt.compile.options import BuildOptions
from xopt.compile.recipes import LOWERINGS
from xopt.errors import InputError, did_you_mean
from xopt.tune.sampling import CAP, SAMPLINGS, TEMPERATURE

__all__ = ["MOST_SEED", "TuneOptions"]

PRECISIONS = ("fp32", "bf16")
# NumPy's generator, which transformers seeds too, takes no more.
MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class TuneOptions:
    """What to tune. Every field is a key of ``[tune]`` in ``xopt.toml`` and an option of the CLI.

    Attributes:
        checkpoint: folder, hub id or ``pip:multilingual-e5-small``; the default encoder if None.
        intermediate: English tasks of phase 2; empty leaves the phase out.
        target: task of phase 3; None stops after phase 2 and leaves the encoder (BUCC, Tatoeba).
        data: a folder in the layout of google/xtreme or of ``TASK/SPLIT``; ``sample`` for the
            English rows of our own sentences; ``hub`` or None for the Hugging Face hub.
        seed: of heads, order, dropout and held-out splits.
        lr: highest learning rate; each task's own if None, as for the next three.
        batch: examples of a step of the optimiser, per process.
        epochs: passes over the training set.
        max_tokens: of an input; for spans, of a window.
        max_steps: of the optimiser, in each phase; overrides ``epochs``.
        warmup: share of the steps over which the rate rises.
        evaluate_every: steps between looks at the English dev set, at each of which a checkpoint
            is kept; a tenth of the phase, at most 1,000, if None.
        patience: looks without a better score after which a phase stops.
        sampling: how several intermediate tasks are mixed: ``proportional``, ``uniform`` or
            ``temperature``.
        temperature: p ~ min(n, cap) ** (1 / temperature), for ``sampling = "temperature"``.
        examples_cap: a larger task counts as this many examples.
        mlm: multilingual texts whose masked tokens are guessed beside the intermediate tasks, as
            for ``xopt build --calibration``; ``sample`` for xopt's own.
        mlm_share: share of phase 2's batches that are such texts.
        translated: a folder of the same layout with machine-translated training data of the
            intermediate tasks, added to the English.
        precision: ``fp32``, or ``bf16`` for mixed precision.
        gradient_accumulation: parts that a batch is run in.
        freeze_embeddings: leave the embedding tables as they are.
        student_layers: distil the result into a copy with this many layers.
        qat: continue with fake quantizers at xopt's sites.
        qat_target: whose INT8 they round as, as ``target`` of ``[build]``; so the next two.
        qat_precision: ``int8``, or ``int8-attention`` for ``cuda``.
        cpu: numbers of the CPU's INT8: ``any`` or ``vnni``.
        max_train_examples: of each task, drawn by the seed.
        max_dev_examples: of each task, the first ones.
        out: the folder of the result; in the cache if None.
    """

    checkpoint: str | None = None
    intermediate: tuple[str, ...] = ()
    target: str | None = None
    data: str | None = None
    seed: int = 0
    lr: float | None = None
    batch: int | None = None
    epochs: int | None = None
    max_tokens: int | None = None
    max_steps: int | None = None
    warmup: float = 0.1
    evaluate_every: int | None = None
    patience: int = 30
    sampling: Literal["proportional", "uniform", "temperature"] = "proportional"
    temperature: float = TEMPERATURE
    examples_cap: int = CAP
    mlm: str | None = None
    mlm_share: float = 0.2
    translated: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_accumulation: int = 1
    freeze_embeddings: bool = False
    student_layers: int | None = None
    qat: bool = False
    qat_target: str = "cpu"
    qat_precision: str = "int8"
    cpu: str | None = None
    max_train_examples: int | None = None
    max_dev_examples: int = 500
    out: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        object.__setattr__(self, "intermediate", _names(self.intermediate))
        if self.sampling not in SAMPLINGS:
            raise InputError(
                f"Unknown sampling {self.sampling!r}.", hint=did_you_mean(self.sampling, SAMPLINGS)
            )
        if self.precision not in PRECISIONS:
            raise InputError(
                f"Tuning runs in fp32 or bf16, not {self.precision!r}.",
                hint="INT8 comes after tuning: xopt build DIR --precision int8",
            )
        self._check_numbers()
        self._check_phases()

    def _check_numbers(self) -> None:
        whole = (
            "batch", "epochs", "max_steps", "evaluate_every", "patience", "examples_cap",
            "gradient_accumulation", "student_layers", "max_train_examples", "max_dev_examples",
        )  # fmt: skip
        for name in whole:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{_typed(name)} is {value}; possible: 1 and above.")
        if self.max_tokens is not None and self.max_tokens < 8:
            raise InputError(f"--max-tokens is {self.max_tokens}; at least 8 are needed.")
        if not 0 <= self.seed <= MOST_SEED:
            raise InputError(f"--seed is {self.seed}; possible: 0 to {MOST_SEED:,}.")
        if self.lr is not None and not 0 < self.lr < 1:
            raise InputError(f"--lr is {self.lr}; it lies between 0 and 1, such as 2e-5.")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"--temperature is {self.temperature}; possible: above 0.")
        for name in ("warmup", "mlm_share"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"{_typed(name)} is {value}; possible: 0 to below 1.")
        if self.batch is not None and self.batch % self.gradient_accumulation:
            raise InputError(
                f"--batch {self.batch} does not split into {self.gradient_accumulation} parts.",
                hint="Make --gradient-accumulation a divisor of --batch.",
            )

    def _check_phases(self) -> None:
        if not self.intermediate and self.target is None:
            raise InputError(
                "There is nothing to tune: no intermediate task and no target task.",
                hint="Type: xopt tune CHECKPOINT --intermediate mnli --target xnli -o DIR",
            )
        if not self.intermediate:
            for name in ("mlm", "translated"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"--{name} is data of phase 2, and there is no intermediate task.",
                        hint="Add --intermediate TASK, or leave it out.",
                    )
        if self.target is None and (self.student_layers is not None or self.qat):
            raise InputError(
                "--student-layers and --qat work on the head of a target task.",
                hint="Add --target TASK.",
            )
        self._check_form()

    def _check_form(self) -> None:
        """Which INT8 the quantizers round as."""
        for name in ("qat_target", "qat_precision", "cpu"):
            if not self.qat and getattr(self, name) != getattr(TuneOptions, name):
                raise InputError(
                    f"{_typed(name)} says which INT8 quantization-aware tuning is for.",
                    hint=f"Add --qat, or leave {_typed(name)} out.",
                )
        possible: dict[str, list[str]] = {"cpu": ["int8"]}
        for (target, precision), lowering in LOWERINGS.items():
            if lowering.activations != "none":
                possible.setdefault(target, []).append(precision)
        if self.qat_target not in possible:
            shown = [name for name in possible if name not in ("openvino", "null")]
            raise InputError(
                f"--qat-target is {self.qat_target!r}, which is no target with INT8.",
                hint=did_you_mean(self.qat_target, shown),
            )
        if self.qat_precision not in possible[self.qat_target]:
            raise InputError(
                f"--qat-precision is {self.qat_precision!r}, which --qat-target {self.qat_target} "
                "does not have in 8 bits.",
                hint=f"Possible there: {', '.join(possible[self.qat_target])}.",
            )
        if self.cpu is not None and self.qat_target not in ("cpu", "openvino"):
            raise InputError(
                f"--cpu says which numbers a CPU takes; --qat-target is {self.qat_target}.",
                hint="Leave one of them out.",
            )
        _ = self.int8

    @property
    def int8(self) -> BuildOptions:
        """The build that quantization-aware tuning rounds as.

        Raises:
            InputError: no such CPU.
        """
        return BuildOptions(target=self.qat_target, precision=self.qat_precision, cpu=self.cpu)


def _names(asked: Sequence[str]) -> tuple[str, ...]:
    """Task names; ``none`` alone stands for no task.

    Raises:
        InputError: a name twice, or ``none`` beside others.
    """
    if isinstance(asked, str):
        asked = asked.split(",")
    names = tuple(name.strip() for name in asked if name.strip())
    if names == ("none",):
        return ()
    if "none" in names:
        raise InputError("--intermediate none stands alone.", hint="Leave 'none' out.")
    if len(set(names)) != len(names):
        raise InputError(f"--intermediate names a task twice: {', '.join(names)}.")
    return names


def _typed(name: str) -> str:
    return "--" + name.replace("_", "-")
