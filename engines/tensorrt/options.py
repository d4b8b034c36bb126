"""What the TensorRT targets are asked for: one frozen value for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from xopt.engines.building import BuilderOptions
from xopt.errors import InputError, UnsupportedError, did_you_mean
from xopt.settings import option

__all__ = [
    "ATTENTION", "COMPAT", "PORTABLE_SM", "RTX_SM", "RtxOptions", "SlotOptions", "TensorRtOptions",
    "TorchTensorRtOptions", "fp16_beyond", "read_sm",
]  # fmt: skip

# What TensorRT-RTX builds for when it is not told (its documentation, "portable" engines).
PORTABLE_SM = (80, 86, 89, 120)
# The members of its ComputeCapability enumeration, but for CURRENT.
RTX_SM = (75, 80, 86, 89, 120, 121)
# Has no fused INT8 attention for batches of varying shape.
TURING = 75
# The longest sentence that attention takes in INT8: evenly attended, each probability of a longer
# one is less than half of a step of 1/127.
INT8_LONGEST = 254

COMPAT: dict[str, str] = {
    "none": "the GPU and TensorRT version that built it, and no other",
    "same-sm": "every GPU of the same compute capability",
    "ampere-plus": "every GPU from SM 80 on; 48 KiB of shared memory and fewer fused kernels",
    "version": "later TensorRT versions on that GPU; the engine then carries the lean runtime, "
    "which the build needs as a package of its own: pip install tensorrt-lean",
}
ATTENTION: dict[str, str] = {
    "native": "TensorRT's own attention over padded sentences",
    "plugin": "xopt's Triton kernel over packed sentences, compiled ahead of time",
}


@dataclass(frozen=True, kw_only=True)
class SlotOptions(BuilderOptions):
    """What TensorRT and TensorRT-RTX are both asked for."""

    batch_tokens: int = option(
        8192, "TensorRT: most slots of one run; the GPU's memory grows with it."
    )

    def __post_init__(self) -> None:
        """Check the number."""
        super().__post_init__()
        if self.batch_tokens < 1:
            raise InputError(f"--batch-tokens is {self.batch_tokens}; at least 1 is needed.")


@dataclass(frozen=True, kw_only=True)
class RtxOptions(SlotOptions):
    """Options of ``tensorrt-rtx``, which builds for GPUs that it does not see."""

    sm: str | None = option(
        None,
        "tensorrt-rtx: GPUs to build for, of 75, 80, 86, 89, 120, 121; 75 by itself. "
        "Default: 80,86,89,120.",
    )
    allow_unfused: bool = option(
        False, "tensorrt-rtx: fp16 attention where INT8 does not fuse.", "--allow-unfused"
    )

    def __post_init__(self) -> None:
        """Check the list of GPUs."""
        super().__post_init__()
        asked = read_sm(self.sm)
        unknown = [sm for sm in asked if sm not in RTX_SM]
        if unknown:
            raise InputError(
                f"TensorRT-RTX builds for no SM {unknown[0]}.",
                hint=f"Possible: {', '.join(map(str, RTX_SM))}. For other GPUs of SM 80 or newer "
                "build with --target cuda, or on the GPU itself with --target tensorrt.",
            )
        if len(set(asked)) != len(asked):
            raise InputError(f"--sm names a GPU twice: {self.sm}.")
        if TURING in asked and len(asked) > 1:
            raise InputError(
                f"SM {TURING} is built by itself: its attention runs in fp16, that of later GPUs "
                "in INT8.",
                hint=f"Build twice: --sm {TURING}, and --sm with the others.",
            )

    @property
    def targets(self) -> tuple[int, ...]:
        """Compute capabilities to build for, as 10 · major + minor."""
        return read_sm(self.sm) or PORTABLE_SM

    def changes(self, precision: str, max_tokens: int) -> dict[str, Any]:
        """fp16 attention where INT8 does not fuse or does not hold: on Turing, and long texts."""
        if TURING in self.targets:
            return {"attention": False}
        return fp16_beyond(max_tokens)


@dataclass(frozen=True, kw_only=True)
class TensorRtOptions(SlotOptions):
    """Options of ``tensorrt``, which builds on the GPU that it will run on."""

    compat: str = option(
        "none",
        "tensorrt, torch-tensorrt: where else than here the engine runs: none, same-sm (tensorrt), "
        "ampere-plus or version.",
    )
    workspace: int | None = option(
        None, "tensorrt, torch-tensorrt: most scratch memory of a kernel, in MiB."
    )
    attention: Literal["native", "plugin"] = option(
        "native", "tensorrt, torch-tensorrt: native, or plugin for xopt's own kernel."
    )
    refit: bool = option(
        False, "tensorrt, torch-tensorrt: weights can be replaced later.", "--refit"
    )

    def __post_init__(self) -> None:
        """Check what can be checked without a TensorRT."""
        super().__post_init__()
        if self.compat not in COMPAT:
            raise InputError(
                f"Unknown compatibility {self.compat!r}.", hint=did_you_mean(self.compat, COMPAT)
            )
        if self.attention not in ATTENTION:
            raise InputError(
                f"Unknown attention {self.attention!r}.",
                hint=did_you_mean(self.attention, ATTENTION),
            )
        if self.workspace is not None and self.workspace < 1:
            raise InputError(f"--workspace is {self.workspace} MiB; at least 1 is needed.")

    @property
    def plugin(self) -> bool:
        """Whether attention is our own kernel."""
        return self.attention == "plugin"

    def changes(self, precision: str, max_tokens: int) -> dict[str, Any]:
        """The form with the plugin, and fp16 attention where INT8 does not hold."""
        form = {"form": "tensorrt-plugin"} if self.plugin else {}
        return form | fp16_beyond(max_tokens)


@dataclass(frozen=True, kw_only=True)
class TorchTensorRtOptions(TensorRtOptions):
    """Options of ``torch-tensorrt``, which starts from the checkpoint and not from the graph."""

    def __post_init__(self) -> None:
        """Refuse what Torch-TensorRT cannot promise."""
        super().__post_init__()
        if self.compat == "same-sm":
            raise UnsupportedError(
                "Torch-TensorRT builds no engine for every GPU of one SM.",
                hint="Possible: --compat none, ampere-plus or version; or --target tensorrt.",
            )

    def changes(self, precision: str, max_tokens: int) -> dict[str, Any]:
        """None: the lowered graph only says which one it is."""
        return {}


def fp16_beyond(max_tokens: int) -> dict[str, Any]:
    """Attention in fp16 for encoders whose sentences are too long for INT8.

    A step that follows the length would cut off peaks instead, which are as common. In fp16 a long
    sentence loses at most 5 % of the speed (``docs/gpu.md``, bounds).
    """
    return {"attention": False} if max_tokens > INT8_LONGEST else {}


def read_sm(text: str | None) -> tuple[int, ...]:
    """``"86,89,120"`` as numbers; empty for None.

    Raises:
        InputError: not a list of numbers.
    """
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--sm is {text!r}; write compute capabilities as numbers.", hint="Like --sm 86,89,120."
        ) from error
