"""Scores as sums over examples, so that one paired bootstrap serves every metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Z95", "Scored", "accuracy", "interval", "mean_of", "mean_over", "paired_bootstrap", "resample",
]  # fmt: skip

Array = NDArray[np.float64]

# 95 % of a normal distribution lie within so many standard deviations.
Z95 = 1.959964


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
    """95 % interval of ``candidate - reference``, in points; arguments of :func:`resample`."""
    drawn = resample(reference, candidate, clusters=clusters, resamples=resamples, seed=seed)
    return interval(candidate.value - reference.value, drawn)


def interval(seen: float, drawn: Array) -> tuple[float, float]:
    """The difference that was seen, ± 1.96 standard errors of the bootstrap.

    (Efron and Tibshirani, 1993, chapter 13.) Percentiles lean to one side where few examples have
    most copies: in PAN-X Indonesian and Greek they cover 91 to 93 % where they say 95, and
    reflected ones up to 97 %; this covers 94 to 96 %.

    Args:
        seen: in points.
        drawn: resampled differences, of :func:`resample` or means of them.
    """
    half = Z95 * float(np.std(drawn))
    return seen - half, seen + half


def resample(
    reference: Scored,
    candidate: Scored,
    *,
    clusters: Sequence[int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Array:
    """``candidate - reference`` on resampled examples, in points: ``[resamples]``.

    Both answered the same examples, so both are scored on the same resampled examples (Efron and
    Tibshirani, 1993; for NLP, Berg-Kirkpatrick et al., 2012). How often an example is drawn is a
    Poisson number of mean 1 (Hanley and MacGibbon, 2006). It belongs to the example's row, so with
    one seed row i is drawn as often in every data set of as many rows, and the mean over languages
    whose rows translate each other is resampled by whole rows.

    An example that stands in the data twice says nothing new, so its copies are drawn with it (the
    cluster bootstrap, Davison and Hinkley, 1997).

    Args:
        reference: the counts of one side.
        candidate: those of the other, example by example.
        clusters: ``[n]``, a number for each example; those that share one repeat each other.
            Every example for itself if None.
        resamples: how often is drawn.
        seed: of the draws.

    Raises:
        ValueError: the sides hold different numbers of examples.
    """
    rows = len(reference.counts)
    if len(candidate.counts) != rows:
        raise ValueError("a paired bootstrap needs the same examples on both sides")
    if not rows:
        return np.zeros(resamples)
    if clusters is None:
        first = np.arange(rows)
    else:
        _, first, index = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
        order = np.argsort(index, kind="stable")
        starts = np.flatnonzero(np.diff(index[order], prepend=-1))
        reference, candidate = (
            Scored(np.add.reduceat(side.counts[order], starts), side.score)
            for side in (reference, candidate)
        )
    generator = np.random.default_rng(seed)
    differences = []
    # In blocks: a matrix of all resamples of 20,000 examples would take 300 MB.
    block = max(1, 4_000_000 // rows)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = generator.poisson(1.0, (size, rows))[:, first].astype(np.float64)
        # Of very few examples none may be drawn.
        weights[~weights.any(axis=1)] = 1
        ours = candidate.score(weights @ candidate.counts)
        theirs = reference.score(weights @ reference.counts)
        differences.append(ours - theirs)
    return np.asarray(np.nan_to_num(np.concatenate(differences)))
