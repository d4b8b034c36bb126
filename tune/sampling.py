"""Which task the next batch of a multi-task run comes from.

Three ways, as in jiant's samplers: every task alike, in proportion to its examples up to a cap
(T5's examples-proportional mixing, Raffel et al., 2020; the paper's setting with K = 2^17), and by
temperature: ``p ∝ min(n, cap)^(1/T)``, which is the second way at T = 1 and the first as T grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError, did_you_mean

__all__ = ["CAP", "SAMPLINGS", "TEMPERATURE", "TaskSampler", "task_probabilities"]

SAMPLINGS = ("proportional", "uniform", "temperature")
CAP = 2**17
TEMPERATURE = 2.0


def task_probabilities(
    sizes: Mapping[str, int],
    *,
    sampling: str = "proportional",
    temperature: float = TEMPERATURE,
    cap: int = CAP,
) -> dict[str, float]:
    """How likely each task is to give the next batch; they add up to 1.

    Args:
        sizes: training examples of each task.
        sampling: ``proportional``, ``uniform`` or ``temperature``.
        temperature: for ``temperature`` only; 1 and above flatten, below 1 sharpens.
        cap: examples beyond it do not make a task more likely; not for ``uniform``.

    Raises:
        InputError: an unknown way, no task, an empty task, or a number out of range.
    """
    if sampling not in SAMPLINGS:
        raise InputError(f"Unknown sampling {sampling!r}.", hint=did_you_mean(sampling, SAMPLINGS))
    if not sizes:
        raise InputError("There is no task to sample from.")
    empty = [name for name, size in sizes.items() if size < 1]
    if empty:
        raise InputError(f"The task {empty[0]} has no training example.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"--temperature is {temperature}; possible: any number above 0.")
    if cap < 1:
        raise InputError(f"--examples-cap is {cap}; possible: 1 and above.")
    power = 1 / temperature if sampling == "temperature" else 1.0
    # Relative to the largest, so that a small temperature cannot overflow.
    capped = {name: 1 if sampling == "uniform" else min(size, cap) for name, size in sizes.items()}
    largest = max(capped.values())
    weights = {name: (size / largest) ** power for name, size in capped.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


class TaskSampler:
    """Names the task of each step: a pure function of seed and step, so a resumed run goes on.

    Args:
        probabilities: of each task, adding up to 1.
        seed: 0 and above.

    Raises:
        InputError: the probabilities do not add up to 1, or the seed is negative.
    """

    def __init__(self, probabilities: Mapping[str, float], *, seed: int = 0) -> None:
        values = np.array(list(probabilities.values()), np.float64)
        if not len(values) or (values < 0).any() or abs(values.sum() - 1) > 1e-9:
            raise InputError(f"Sampling probabilities must add up to 1: {dict(probabilities)}.")
        if seed < 0:
            raise InputError(f"--seed is {seed}; possible: 0 and above.")
        self.names: Sequence[str] = tuple(probabilities)
        self.seed = seed
        self._bounds: NDArray[np.float64] = np.cumsum(values)

    def task(self, step: int) -> str:
        """The task of step ``step``, counted from 0."""
        drawn = np.random.default_rng((self.seed, step)).random() * self._bounds[-1]
        return self.names[int(np.searchsorted(self._bounds, drawn, side="right"))]
