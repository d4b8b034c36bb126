"""What only the TensorRT targets are asked for: one frozen value that every part reads.

``sm`` and ``allow_unfused`` belong to ``tensorrt-rtx``, which builds for GPUs it does not see;
``compat``, ``workspace_mib``, ``attention`` and ``refit`` to ``tensorrt``, which builds on the GPU
it will run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xopt.errors import InputError, did_you_mean

__all__ = ["ATTENTION", "COMPAT", "PORTABLE_SM", "RTX_SM", "TensorRtOptions", "read_sm"]

# What TensorRT-RTX builds for when it is not told (its documentation, "portable" engines).
PORTABLE_SM = (80, 86, 89, 120)
# The members of its ComputeCapability enumeration, but for CURRENT.
RTX_SM = (75, 80, 86, 89, 120, 121)
# Has no fused INT8 attention for batches of varying shape.
TURING = 75
# The longest sentence of an INT8 attention kernel.
INT8_LONGEST = 512

COMPAT: dict[str, str] = {
    "none": "the GPU and TensorRT version that built it, and no other",
    "same-sm": "every GPU of the same compute capability",
    "ampere-plus": "every GPU from SM 80 on; 48 KiB of shared memory and fewer fused kernels",
    "version": "later TensorRT versions on that GPU; the engine then carries a lean runtime",
}
ATTENTION: dict[str, str] = {
    "native": "TensorRT's own attention over padded sentences",
    "plugin": "xopt's Triton kernel over packed sentences, compiled ahead of time",
}


@dataclass(frozen=True)
class TensorRtOptions:
    """The part of a build that only TensorRT and TensorRT-RTX read.

    Attributes:
        sm: compute capabilities to build for, as 10 · major + minor; the portable set if empty.
        batch_tokens: most slots of one run, tokens and padding together; memory grows with it.
        allow_unfused: fall back to fp16 attention, rather than fail, where INT8 attention did not
            become one kernel.
        compat: a key of :data:`COMPAT`: where the engine shall run besides here.
        workspace_mib: most scratch memory a kernel may use, in MiB; TensorRT's own bound if None.
        attention: a key of :data:`ATTENTION`.
        refit: whether the weights can be replaced later by ones for which the engine was built
            identically (TensorRT's REFIT_IDENTICAL).
        lengths: tokens of the corpus's sentences, as quantiles: what profiles are tuned for.
    """

    sm: tuple[int, ...] = ()
    batch_tokens: int = 8192
    allow_unfused: bool = False
    compat: str = "none"
    workspace_mib: int | None = None
    attention: Literal["native", "plugin"] = "native"
    refit: bool = False
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without a TensorRT."""
        unknown = [sm for sm in self.sm if sm not in RTX_SM]
        if unknown:
            raise InputError(
                f"TensorRT-RTX builds for no SM {unknown[0]}.",
                hint=f"Possible: {', '.join(map(str, RTX_SM))}.",
            )
        if len(set(self.sm)) != len(self.sm):
            raise InputError(f"--sm names a GPU twice: {','.join(map(str, self.sm))}.")
        if TURING in self.sm and len(self.sm) > 1:
            raise InputError(
                f"SM {TURING} is built by itself: its attention runs in fp16, that of later GPUs "
                "in INT8.",
                hint=f"Build twice: --sm {TURING}, and --sm with the others.",
            )
        if self.batch_tokens < 1:
            raise InputError(f"--batch-tokens is {self.batch_tokens}; at least 1 is needed.")
        if self.compat not in COMPAT:
            raise InputError(
                f"Unknown compatibility {self.compat!r}.", hint=did_you_mean(self.compat, COMPAT)
            )
        if self.attention not in ATTENTION:
            raise InputError(
                f"Unknown attention {self.attention!r}.",
                hint=did_you_mean(self.attention, ATTENTION),
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise InputError(f"--workspace is {self.workspace_mib} MiB; at least 1 is needed.")

    @property
    def targets(self) -> tuple[int, ...]:
        """The compute capabilities of a TensorRT-RTX build."""
        return self.sm or PORTABLE_SM

    def fp16_attention(self, max_tokens: int) -> str:
        """Why attention must stay in fp16, as half a sentence; empty if INT8 can do.

        Args:
            max_tokens: of one sentence.
        """
        if TURING in self.sm:
            return f"TensorRT-RTX fuses no INT8 attention of varying shapes on SM {TURING}"
        if max_tokens > INT8_LONGEST:
            return (
                f"INT8 attention fuses up to {INT8_LONGEST} tokens, this encoder takes {max_tokens}"
            )
        return ""


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
