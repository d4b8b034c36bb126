"""A kernel as the ahead-of-time compiler sees it: its arguments, its constants and its grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["OPTIONS", "GridRule", "KernelSpec"]

# Said in full because Triton's default is about to change: a multiplication and an addition fuse.
OPTIONS = {"enable_fp_fusion": True}


def _cdiv(length: int, block: int) -> int:
    return -(-length // block)


@dataclass(frozen=True)
class GridRule:
    """How many programs a launch has, from the shapes of the batch alone.

    The grid is ``(cdiv(tokens, block) + sentences · per_sentence, columns, 1)``.

    Attributes:
        block: tokens per program.
        per_sentence: 1 where every sentence may begin a tile of its own, else 0.
        columns: heads, or blocks of columns.
    """

    block: int
    per_sentence: int = 0
    columns: int = 1

    def grid(
        self, tokens: Any, sentences: Any, *, cdiv: Callable[[Any, Any], Any] = _cdiv
    ) -> tuple[Any, int, int]:
        """The grid for a batch.

        Args:
            tokens: T, an int or a symbolic shape expression.
            sentences: B, an int or a symbolic shape expression.
            cdiv: division that rounds up, for symbolic expressions that bring their own
                (``tensorrt.plugin.cdiv``).
        """
        programs = cdiv(tokens, self.block)
        if self.per_sentence:
            programs = programs + sentences * self.per_sentence
        return programs, self.columns, 1


@dataclass(frozen=True)
class KernelSpec:
    """One kernel with everything but the device decided.

    Arguments keep the order in which TensorRT passes them: inputs, extra scalars, outputs.

    Attributes:
        name: the public name of the operation.
        function: the ``triton.jit`` function.
        inputs: argument name to pointer type (``"*fp16"``).
        scalars: argument name to integer type (``"i32"``).
        outputs: argument name to pointer type.
        constants: arguments baked into the code, floats among them: TensorRT passes no float.
        grid: the launch rule.
        num_warps: warps per program.
        num_stages: depth of the software pipeline.
        max_registers: most registers a thread may have; the assembler's choice without it.
        multiplies: whether the kernel is built on matrix instructions.
    """

    name: str
    function: Any
    inputs: Mapping[str, str]
    scalars: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, Any]
    grid: GridRule
    num_warps: int
    num_stages: int
    multiplies: bool
    max_registers: int | None = None

    @property
    def arguments(self) -> dict[str, str]:
        """Argument name to type, in the order of the launch."""
        return {**self.inputs, **self.scalars, **self.outputs}
