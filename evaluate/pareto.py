"""Choices that no other choice beats in both accuracy and throughput."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pareto_front"]


def pareto_front(points: Sequence[tuple[float, float]]) -> set[int]:
    """The numbers of the points that no other equals or beats in both values and beats in one."""
    return {
        number
        for number, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    }
