"""Sizes that a batch is filled up to on a GPU, so that few shapes serve all."""

from __future__ import annotations

__all__ = ["STEP", "eighths", "power_of_two"]

# Finest step between sizes of tokens and of slots: kernels read aligned rows of this many.
STEP = 16


def eighths(size: int, least: int = STEP) -> int:
    """``size`` up to the next eighth of a power of two: at most an eighth of it is waste.

    Args:
        size: at least 1.
        least: the finest step.
    """
    step = max(least, 1 << max(0, (size - 1).bit_length() - 4))
    return -(-size // step) * step


def power_of_two(size: int) -> int:
    """``size`` up to the next power of two, for what costs next to nothing where it is empty."""
    return 1 << (size - 1).bit_length()
