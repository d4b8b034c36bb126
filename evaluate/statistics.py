"""Scores as sums over examples, so that one paired bootstrap serves every metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Scored", "accuracy", "interval", "mean_of", "mean_over", "paired_bootstrap", "resample",
]  # fmt: skip

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
    """95 % interval of ``candidate - reference``, in points; arguments of :func:`resample`."""
    return interval(
        resample(reference, candidate, clusters=clusters, resamples=resamples, seed=seed)
    )


def interval(differences: Array) -> tuple[float, float]:
    """The middle 95 % of resampled differences (percentile interval)."""
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


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

    What repeats says nothing new, so distinct examples are drawn, and each that is drawn gets as
    many copies as one of them has. Drawing each with its own copies (the cluster bootstrap) covers
    92 % where it says 95 % if few examples have most copies: as long as none of those few changed,
    it cannot know how much one would move the score. Here all examples say how often answers
    change, which takes for granted that this has nothing to do with the number of copies.

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
    _, first, copies = np.unique(
        np.arange(rows) if clusters is None else np.asarray(clusters),
        return_index=True,
        return_counts=True,
    )
    order = np.argsort(first if clusters is None else np.asarray(clusters), kind="stable")
    starts = np.cumsum(copies) - copies
    reference, candidate = (
        Scored(np.add.reduceat(side.counts[order], starts), side.score)
        for side in (reference, candidate)
    )
    if (copies == 1).all():
        return _draw(reference, candidate, rows, first, None, resamples, seed)
    one, other = (
        Scored(side.counts / copies[:, None], side.score) for side in (reference, candidate)
    )
    drawn = _draw(one, other, rows, first, copies, resamples, seed)
    # Each distinct example counts once in these; what is asked is the difference over all rows.
    return drawn + (_apart(reference, candidate) - _apart(one, other))


def _apart(reference: Scored, candidate: Scored) -> Array:
    """The difference of both sides, in points."""
    sides = (side.score(side.counts.sum(axis=0)) for side in (candidate, reference))
    ours, theirs = sides
    return np.nan_to_num(ours - theirs)


def _draw(
    reference: Scored,
    candidate: Scored,
    rows: int,
    first: NDArray[np.intp],
    copies: NDArray[np.intp] | None,
    resamples: int,
    seed: int,
) -> Array:
    """Differences of resampled examples.

    Args:
        reference: ``[K, k]`` counts.
        candidate: likewise.
        rows: of the data.
        first: ``[K]``, the row of each distinct example.
        copies: ``[K]``: each that is drawn gets as many copies as one of these says; or one.
        resamples: how often is drawn.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    dealer = np.random.default_rng([seed, 1])
    differences = []
    # In blocks: a matrix of all resamples of 20,000 examples would take 300 MB.
    block = max(1, 4_000_000 // rows)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        times = generator.poisson(1.0, (size, rows))[:, first]
        # Of very few examples none may be drawn.
        times[~times.any(axis=1)] = 1
        if copies is None:
            weights: Array = times.astype(np.float64)
        else:
            dealt = copies[dealer.integers(len(copies), size=times.sum())]
            places = np.repeat(np.arange(times.size), times.ravel())
            sums: Array = np.bincount(places, dealt, minlength=times.size).astype(np.float64)
            weights = sums.reshape(times.shape)
        ours = candidate.score(weights @ candidate.counts)
        theirs = reference.score(weights @ reference.counts)
        differences.append(ours - theirs)
    return np.nan_to_num(np.concatenate(differences))
