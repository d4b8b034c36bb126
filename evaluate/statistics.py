"""Scores as sums over examples, so that one paired bootstrap serves every metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scored", "accuracy", "mean_of", "mean_over", "paired_bootstrap"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Per-example counts and the score that their sum gives.

    Attributes:
        counts: ``[n, k]`` float64, what each example adds.
        score: ``[..., k]`` sums -> ``[...]`` scores in percent.
    """

    counts: Array
    score: Callable[[Array], Array]

    @property
    def value(self) -> float:
        """The score of all examples, in percent."""
        return float(self.score(self.counts.sum(axis=0)))


def mean_of(values: Array) -> Scored:
    """The mean of a value per example, in percent of 1."""
    return mean_over(values, np.ones_like(values))


def mean_over(values: Array, units: Array) -> Scored:
    """What the examples add, over the units (such as tokens) each of them has; in percent of 1."""
    counts = np.stack([values, units], axis=1)
    return Scored(counts, lambda sums: 100.0 * sums[..., 0] / np.maximum(sums[..., 1], 1e-12))


def accuracy(correct: NDArray[np.bool_]) -> Scored:
    """The share of right answers."""
    return mean_of(correct.astype(np.float64))


def paired_bootstrap(
    reference: Scored,
    candidate: Scored,
    *,
    clusters: Sequence[int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of ``candidate - reference``, in points.

    Both answered the same examples, so both are scored on the same resampled examples (Efron and
    Tibshirani, 1993; for NLP, Berg-Kirkpatrick et al., 2012). Percentile interval.

    Args:
        reference: the counts of one side.
        candidate: those of the other, example by example.
        clusters: ``[n]``, a number for each example; those that share one are drawn together,
            because an example that stands in the data twice says nothing new (the cluster
            bootstrap, Davison and Hinkley, 1997). Every example for itself if None.
        resamples: how often is drawn.
        seed: of the draws.

    Raises:
        ValueError: the sides hold different numbers of examples.
    """
    if len(candidate.counts) != len(reference.counts):
        raise ValueError("a paired bootstrap needs the same examples on both sides")
    if clusters is not None:
        reference, candidate = (_by_cluster(side, clusters) for side in (reference, candidate))
    n = len(reference.counts)
    generator = np.random.default_rng(seed)
    differences = np.empty(resamples)
    # In blocks: a matrix of all resamples of 20,000 examples would take 300 MB.
    block = max(1, 4_000_000 // max(n, 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = generator.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        ours = candidate.score(weights @ candidate.counts)
        theirs = reference.score(weights @ reference.counts)
        differences[start : start + size] = ours - theirs
    low, high = np.percentile(np.nan_to_num(differences), [2.5, 97.5])
    return float(low), float(high)


def _by_cluster(scored: Scored, clusters: Sequence[int]) -> Scored:
    """The counts of each cluster, summed."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    counts = np.zeros((index.max(initial=-1) + 1, scored.counts.shape[1]))
    np.add.at(counts, index, scored.counts)
    return Scored(counts, scored.score)
