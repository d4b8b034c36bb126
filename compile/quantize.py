"""What fp16 and INT8 can hold of a table: the steps, and what is refused or told."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import UnsupportedError

__all__ = ["HALF", "Halves", "check_finite", "half_inverse", "in_half", "weight_step"]

HALF = np.finfo(np.float16)
CPU = "Build it for the CPU: xopt build CHECKPOINT --target cpu"

log = logging.getLogger(__name__)


def check_finite(name: str, values: NDArray[Any]) -> None:
    """Refuse a table with a NaN or an infinity, which INT8 would make a number of.

    Raises:
        UnsupportedError: with the table's name.
    """
    if values.dtype.kind != "f" or not values.size:
        return
    # The smallest and the largest are NaN where one is, and need no second copy of a table.
    if not np.isfinite([values.min(), values.max()]).all():
        raise UnsupportedError(
            f"{name} would hold NaN or infinity: a weight or a range that it is made of is too "
            "large for its type.",
            hint="In fp32 such a checkpoint can be built: xopt build CHECKPOINT --precision fp32"
            " --target cpu",
        )


class Halves:
    """Tables in fp16: what is beyond its range is refused, and digits that it loses are told.

    Below 2^-14 numbers of fp16 lie 2^-24 apart, whatever their size.

    Args:
        reader: of the tables, as ``the CUDA kernels``.
    """

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._lost: list[str] = []

    def check(self, name: str, values: NDArray[Any]) -> None:
        """Refuse what fp16 cannot hold.

        Raises:
            UnsupportedError: a value is no number or beyond the range.
        """
        check_finite(name, values)
        most = np.abs(values).max(initial=0)
        if most > HALF.max:
            raise UnsupportedError(
                f"{name} holds {most:.3g}, beyond the range of fp16, in which {self._reader} "
                "read it.",
                hint=CPU,
            )

    def check_rows(self, name: str, rows: NDArray[Any]) -> None:
        """As :meth:`check`, of ``[rows, columns]``, each of which is to keep its digits.

        Raises:
            UnsupportedError: also where all of the table lies below the normal numbers.
        """
        self.check(name, rows)
        # Two passes, where the absolute values would be a second copy.
        largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
        few = (largest > 0) & (largest < HALF.tiny)
        if few.any() and largest.max() < HALF.tiny:
            raise UnsupportedError(
                f"{name} holds nothing above {largest.max():.3g}; below {HALF.tiny:.2g} fp16, in "
                f"which {self._reader} read it, loses its digits.",
                hint=CPU,
            )
        if few.any():
            row = int(few.argmax())
            self._lost.append(f"{few.sum()} of {len(rows)} rows of {name}, as row {row} "
                              f"({largest[row]:.1g})")  # fmt: skip

    def step(self, name: str, value: float) -> np.float32:
        """A site's step; see :func:`in_half`."""
        if value < HALF.tiny:
            self._lost.append(f"the step of {name} ({value:.1g})")
        return in_half(np.float32(value))

    def tell(self) -> None:
        """Warn of all that was found, once."""
        if self._lost:
            more = f", and {len(self._lost) - 3} more" if len(self._lost) > 3 else ""
            log.warning(
                "Below %.2g fp16 keeps fewer digits: %s%s. What that costs: xopt eval BUNDLE "
                "--reference", HALF.tiny, "; ".join(self._lost[:3]), more,
            )  # fmt: skip
        self._lost = []


def in_half(value: np.float32) -> np.float32:
    """The nearest normal number of fp16, so that both sides of a product round alike."""
    with np.errstate(over="ignore"):
        return np.float32(np.float16(max(value, np.float32(HALF.tiny))))


def half_inverse(divisor: NDArray[np.floating]) -> NDArray[np.float16]:
    """One over SmoothQuant's divisor, in normal numbers of fp16."""
    inverse: NDArray[np.float16] = (1 / divisor).astype(np.float16).clip(HALF.tiny)
    return inverse


def weight_step(
    rows: NDArray[np.int8], scales: NDArray[np.float32], step: np.float32
) -> np.float32:
    """The one step of a weight's dequantization: nothing that it lets through overflows fp16.

    The product leaves TensorRT's kernel as fp16, in units of ``step`` times this; the largest
    accumulator is 127 times the largest sum of absolute weights in a row.
    """
    largest = 127 * np.abs(rows.astype(np.int32)).sum(axis=1).max()
    bound = np.float32(HALF.max / 2 / (max(largest, 1) * step))
    return in_half(min(np.float32(scales.max()), bound))
