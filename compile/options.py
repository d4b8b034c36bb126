"""What to build: one frozen value, filled from ``xopt.toml`` and the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from xopt.calibrate.ranges import CalibrationRecipe
from xopt.compile.checkpoint import Pooling
from xopt.compile.recipes import lowering_for
from xopt.engines.base import ALIASES, BUILDERS
from xopt.engines.tensorrt.options import TensorRtOptions, read_sm
from xopt.errors import InputError

__all__ = ["TENSORRT", "BuildOptions"]

# Fields that no other target reads, and those that each of these reads.
TENSORRT = ("sm", "batch_tokens", "allow_unfused", "compat", "workspace", "attention", "refit")
ON_GPU = ("batch_tokens", "compat", "workspace", "attention", "refit")
READS = {
    "tensorrt-rtx": ("sm", "batch_tokens", "allow_unfused"),
    "tensorrt": ON_GPU,
    "torch-tensorrt": ON_GPU,
}


@dataclass(frozen=True)
class BuildOptions:
    """What to build. Every field is a key of ``[build]`` in ``xopt.toml`` and an option of the CLI.

    Attributes:
        checkpoint: folder, hub id or ``pip:multilingual-e5-small``; the default encoder if None.
        precision: ``fp32``, ``fp16`` or ``int8``.
        target: an engine's name; ``cpu`` is OpenVINO.
        calibration: corpus, see :func:`xopt.calibrate.corpus.load_corpus`.
        calibration_tokens: budget of the calibration sample.
        ranges: ``minmax``, ``percentile``, ``entropy`` or ``mse``.
        percentile: for ``ranges = "percentile"``.
        smooth: SmoothQuant's alpha; 0 turns it off.
        seed: of the calibration sample.
        layer: for encoders without a head, which hidden state is pooled; the last if None.
        pooling: for encoders without a head, ``mean`` or ``cls``.
        sm: TensorRT-RTX: compute capabilities to build for, as ``86,89,120``.
        batch_tokens: TensorRT: most slots of one run, tokens and padding together.
        allow_unfused: TensorRT-RTX: take fp16 attention where INT8 does not fuse.
        compat: TensorRT: where the engine shall run besides here.
        workspace: TensorRT: most scratch memory of a kernel, in MiB.
        attention: TensorRT: ``native`` or ``plugin``.
        refit: TensorRT: whether weights can be replaced later.
        out: the bundle's folder; ``bundles/NAME-PRECISION-TARGET`` if None.
    """

    checkpoint: str | None = None
    precision: str = "int8"
    target: str = "cpu"
    calibration: str | None = None
    calibration_tokens: int = 16_384
    ranges: str = "minmax"
    percentile: float = 99.99
    smooth: float = 0.8
    seed: int = 0
    layer: int | None = None
    pooling: Pooling = "mean"
    sm: str | None = None
    batch_tokens: int = TensorRtOptions.batch_tokens
    allow_unfused: bool = False
    compat: str = TensorRtOptions.compat
    workspace: int | None = None
    attention: Literal["native", "plugin"] = TensorRtOptions.attention
    refit: bool = False
    out: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        if self.pooling not in ("mean", "cls"):
            raise InputError(f"Unknown pooling {self.pooling!r}.", hint="Possible: mean, cls.")
        if self.calibration_tokens < 64:
            raise InputError(
                f"--calibration-tokens is {self.calibration_tokens}; at least 64 are needed."
            )
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; possible: 0 and above.")
        lowering_for(self.engine, self.precision)
        _ = self.recipe
        self._refuse_unread()
        if self.tensorrt != TensorRtOptions() and "tensorrt" not in self.engine:
            raise InputError(
                f"--target {self.target} takes no option of TensorRT "
                "(--sm, --batch-tokens, --allow-unfused, --compat, --workspace, --attention, "
                "--refit).",
                hint="Leave it out, or add --target tensorrt-rtx.",
            )

    def _refuse_unread(self) -> None:
        """Refuse an option that another TensorRT target reads and this one would ignore.

        Raises:
            InputError: names the option, and the targets that read it.
        """
        if self.engine not in READS:
            return
        for field in fields(self):
            unread = field.name in TENSORRT and field.name not in READS[self.engine]
            if unread and getattr(self, field.name) != field.default:
                readers = [target for target, names in READS.items() if field.name in names]
                raise InputError(
                    f"--target {self.target} takes no --{field.name.replace('_', '-')}.",
                    hint=f"Leave it out; it is for --target {' or '.join(readers)}.",
                )

    @property
    def engine(self) -> str:
        """The target as the engines' table spells it."""
        name = ALIASES.get(self.target, self.target)
        if name not in BUILDERS:
            BUILDERS.resolve(name)
        return name

    @property
    def recipe(self) -> CalibrationRecipe:
        """The calibration part."""
        return CalibrationRecipe(self.ranges, self.percentile, self.smooth)

    @property
    def tensorrt(self) -> TensorRtOptions:
        """The part that only TensorRT reads."""
        return TensorRtOptions(
            sm=read_sm(self.sm),
            batch_tokens=self.batch_tokens,
            allow_unfused=self.allow_unfused,
            compat=self.compat,
            workspace_mib=self.workspace,
            attention=self.attention,
            refit=self.refit,
        )

    def reference(self) -> BuildOptions:
        """The same checkpoint in fp32 for this machine's CPU."""
        own: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name in TENSORRT}
        return replace(self, precision="fp32", target="cpu", **own)
