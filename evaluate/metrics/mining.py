"""Parallel sentences found by margin (Artetxe and Schwenk, 2019), and the tuned threshold."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mined", "best_threshold", "mine", "nearest_neighbours"]

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

# Similarities held at a time.
BLOCK = 16_000_000


@dataclass(frozen=True)
class Mined:
    """Candidate pairs, best first; no sentence occurs in two of them.

    Attributes:
        left: ``[n]``, rows of the one side.
        right: ``[n]``, rows of the other.
        score: ``[n]``, their margins, falling.
    """

    left: Indices
    right: Indices
    score: NDArray[np.float64]


def nearest_neighbours(queries: Floats, index: Floats, k: int) -> tuple[Floats, Indices]:
    """Cosines and rows of the ``k`` nearest of ``index`` for each query, both ``[n, k]``.

    Both sides must have rows of length 1.
    """
    k = min(k, len(index))
    cosines = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.intp)
    step = max(1, BLOCK // max(1, len(index)))
    for start in range(0, len(queries), step):
        block = queries[start : start + step] @ index.T
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        rows[start : start + step] = best
        cosines[start : start + step] = np.take_along_axis(block, best, axis=1)
    return cosines, rows


def mine(left: Floats, right: Floats, *, k: int = 4) -> Mined:
    """Pairs by the ratio margin: a cosine over the mean cosine of both sides' ``k`` neighbours.

    Every row proposes its best neighbour, in both directions; proposals are taken from the best
    down, each sentence at most once.

    Args:
        left: ``[n, hidden]``, rows of length 1.
        right: ``[m, hidden]``, rows of length 1.
        k: neighbours, of which the mean is taken and among which the best is sought.
    """
    forward, forward_rows = nearest_neighbours(left, right, k)
    backward, backward_rows = nearest_neighbours(right, left, k)
    left_mean, right_mean = forward.mean(axis=1), backward.mean(axis=1)
    ahead = forward / ((left_mean[:, None] + right_mean[forward_rows]) / 2)
    back = backward / ((right_mean[:, None] + left_mean[backward_rows]) / 2)
    best_ahead, best_back = ahead.argmax(axis=1), back.argmax(axis=1)
    lefts, rights = np.arange(len(left)), np.arange(len(right))
    pairs_left = np.concatenate([lefts, backward_rows[rights, best_back]])
    pairs_right = np.concatenate([forward_rows[lefts, best_ahead], rights])
    scores = np.concatenate([ahead[lefts, best_ahead], back[rights, best_back]]).astype(np.float64)
    return _each_once(pairs_left, pairs_right, scores)


def _each_once(left: Indices, right: Indices, score: NDArray[np.float64]) -> Mined:
    used_left: set[int] = set()
    used_right: set[int] = set()
    kept = []
    for number in np.argsort(-score, kind="stable"):
        a, b = int(left[number]), int(right[number])
        if a not in used_left and b not in used_right:
            used_left.add(a)
            used_right.add(b)
            kept.append(number)
    return Mined(left[kept], right[kept], score[kept])


def best_threshold(
    pairs: Collection[tuple[str, str]], scores: NDArray[np.float64], gold: set[tuple[str, str]]
) -> float:
    """The threshold that gives the highest F1 on ``gold``, half-way between two scores.

    Args:
        pairs: candidates, best first.
        scores: their scores, falling.
        gold: the true pairs.
    """
    if not len(scores):
        return 0.0
    right = np.cumsum([pair in gold for pair in pairs])
    found = np.arange(1, len(scores) + 1)
    f1 = 2 * right / (found + len(gold))
    if not right[-1]:
        return float(np.inf)
    best = int(f1.argmax())
    return float((scores[best] + scores[min(best + 1, len(scores) - 1)]) / 2)
