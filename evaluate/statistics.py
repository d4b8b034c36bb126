"""Scores as sums over examples, so that one paired bootstrap serves every metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Z95", "Difference", "Scored", "accuracy", "loses_more", "mean_difference", "mean_of",
    "mean_over", "paired_bootstrap", "resample", "typical_turn",
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


def loses_more(difference: float, points: float) -> bool:
    """Whether more than ``points`` are lost; a difference that is no number has lost everything.

    Two percentages of 1,000 rows that are 3 rows apart differ by 0.30000000000001137: what is lost
    to the last bits of a float is not counted.
    """
    return not round(-difference, 9) <= points


@dataclass(frozen=True)
class Difference:
    """What a candidate adds to a reference, and what its interval is found from.

    Attributes:
        seen: in points.
        draws: ``[resamples]`` float64, the difference on resampled examples.
        rows: distinct examples.
        turn: points that an example is worth whose answers turn over, of :func:`typical_turn`.
    """

    seen: float
    draws: Array
    rows: float
    turn: float

    def interval(self) -> tuple[float, float]:
        """95 % interval of the true difference, between -100 and 100 points.

        ± 1.96 standard errors of the bootstrap (Efron and Tibshirani, 1993, chapter 13) on two
        examples more than there are, one turned to the better and one to the worse. In accuracy
        over distinct examples that is the interval of Bonett and Price (2012, "Adjusted Wald
        confidence interval for a difference of binomial proportions based on paired data").
        Without the two it covers a rare loss far less often than it says, and is [0, 0] where
        nothing turned over; percentiles and BCa know no answer either that did not turn over.
        """
        if not self.rows:
            return -100.0, 100.0
        kept = self.rows / (self.rows + 2)
        two = 2 * self.turn**2 * (1 + kept * (self.seen / 100) ** 2)
        middle = kept * self.seen
        half = Z95 * kept * float(np.sqrt(np.var(self.draws) + two))
        return max(middle - half, -100.0), min(middle + half, 100.0)


def mean_difference(parts: Sequence[Difference]) -> Difference:
    """The mean over languages or seeds, each drawn with the same seed so that rows stay together.

    It has two examples more in all, not two of each language (Price and Bonett, 2004, "An improved
    confidence interval for a linear function of binomial proportions"). Where the same rows turn
    over in several languages, as the draws show, a row is worth more and there are fewer.

    Args:
        parts: at least one, with as many draws each.
    """
    draws = np.mean(np.stack([part.draws for part in parts]), axis=0)
    apart = float(np.sum([np.var(part.draws) for part in parts])) / len(parts) ** 2
    together = max(1.0, float(np.var(draws)) / apart) if apart else 1.0
    turn = float(np.sqrt(np.mean([part.turn**2 for part in parts])))
    return Difference(
        float(np.mean([part.seen for part in parts])),
        draws,
        sum(part.rows for part in parts) / together,
        together * turn / len(parts),
    )


def paired_bootstrap(
    reference: Scored,
    candidate: Scored,
    *,
    clusters: Sequence[int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """``candidate - reference``; arguments and errors of :func:`resample`."""
    draws = resample(reference, candidate, clusters=clusters, resamples=resamples, seed=seed)
    seen = candidate.value - reference.value
    rows = len(reference.counts) if clusters is None else len(set(clusters))
    turn = float(typical_turn(reference, candidate, clusters=clusters)) if rows else 100.0
    return Difference(seen, draws, rows, turn)


def typical_turn(
    reference: Scored, candidate: Scored, *, clusters: Sequence[int] | None = None
) -> Array:
    """What an example whose answers turn over is worth, in points: ``[...]``, as the score is.

    The root of the mean square over the examples that both sides answered otherwise, but no less
    than one answer of an example with its copies: a sentence may turn over with several of its
    tags, and where nothing did it is one.

    Args:
        reference: the counts of one side, at least one example; the first column of them counts
            what is right.
        candidate: those of the other, example by example.
        clusters: as in :func:`resample`.
    """
    reference, candidate, _, copies = _distinct(reference, candidate, clusters)
    sums = candidate.counts.sum(axis=0)
    turned = candidate.score(sums - candidate.counts + reference.counts) - candidate.score(sums)
    seen = np.sum(turned**2, axis=0) / np.maximum(np.count_nonzero(turned, axis=0), 1)
    sums = reference.counts.sum(axis=0)
    one = np.eye(1, len(sums))[0] * np.sqrt(np.mean(np.square(copies)))
    answer = np.minimum(reference.score(sums + one) - reference.score(sums), 100.0)
    return np.asarray(np.sqrt(np.maximum(seen, answer**2)))


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
    reference, candidate, first, _ = _distinct(reference, candidate, clusters)
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


def _distinct(
    reference: Scored, candidate: Scored, clusters: Sequence[int] | None
) -> tuple[Scored, Scored, NDArray[np.intp], NDArray[np.intp]]:
    """Both sides with the counts of copies added up; of each its first row, and how many it has."""
    if clusters is None:
        first = np.arange(len(reference.counts))
        return reference, candidate, first, np.ones_like(first)
    _, first, index = np.unique(np.asarray(clusters), return_index=True, return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    both = [
        Scored(np.add.reduceat(side.counts[order], starts), side.score)
        for side in (reference, candidate)
    ]
    return both[0], both[1], first, np.bincount(index)
