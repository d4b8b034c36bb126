"""Which shapes of batch the CUDA engine has graphs for, chosen from a corpus's lengths.

A batch is filled up to a bucket of T tokens and B sentences. Levels of T are those that waste least
(a dynamic program, exact); more levels of B are added one by one where the programs of empty
sentences would cost most. A batch beyond the largest bucket runs in parts, so every batch has a
bucket, and no graph is ever dropped for another.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.buckets import eighths
from xopt.engines.cuda_traffic import SMALL, Kinds, traffic
from xopt.forms import reads
from xopt.packing import PackedBatch

__all__ = ["Buckets", "choose_buckets"]

# Graphs of one engine.
MOST_GRAPHS = 64
# Tokens of the largest bucket, if the encoder takes no longer text.
MOST_TOKENS = 8192
# Wasted tokens for each token: what is aimed at over all traffic, and for batches below SMALL.
AVERAGE, BELOW_SMALL = 0.04, 0.10
# Of the aims, since the batches that come are others than those drawn, of which few are small.
MARGIN, SMALL_MARGIN = 0.85, 0.75
# How much small batches count beside all others, until they keep to their aim.
EMPHASES = (0.5, 2.0, 8.0)
# What an empty sentence costs, in tokens: attention's programs that find nothing to do.
SENTENCE = 0.5
# Levels of tokens on each side whose batches count for a level of sentences.
NEAR = 4

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Buckets:
    """Shapes of batch, ascending; the last one takes the most tokens and the most sentences.

    Attributes:
        shapes: (T, B) of each.
        average: tokens that are expected to be wasted, for each token; of the worst kind of traffic
            where more than single texts come.
        below_128: the same over batches of fewer than 128 tokens.
    """

    shapes: tuple[Pair, ...]
    average: float = 0.0
    below_128: float = 0.0

    @classmethod
    def read(cls, bundle: Bundle) -> Buckets:
        """What :meth:`manifest` wrote.

        Raises:
            ArtifactError: the bundle was built without buckets.
        """
        what = f"{bundle.folder}: its manifest names no buckets of batches"
        with reads(what, hint="Build it again with this version of xopt."):
            facts = bundle.manifest["engine"]
            shapes = tuple((int(tokens), int(sentences)) for tokens, sentences in facts["buckets"])
            waste = facts["expected_waste"]
            return cls(shapes, float(waste["average"]), float(waste["below_128"]))

    def manifest(self) -> dict[str, Any]:
        """For the manifest, with a line for people."""
        waste = {"average": round(self.average, 4), "below_128": round(self.below_128, 4)}
        shapes = [list(shape) for shape in self.shapes]
        return {"buckets": shapes, "expected_waste": waste, "buckets_text": self.describe()}

    @property
    def beyond(self) -> float:
        """The expected waste as a share of what is aimed at; at most 1 where both aims are met."""
        average = self.average / (MARGIN * AVERAGE)
        return max(average, self.below_128 / (SMALL_MARGIN * BELOW_SMALL))

    def describe(self) -> str:
        """How many there are, how much is wasted on texts like the corpus's, and if it is much."""
        said = (
            f"{len(self.shapes)} shapes of batch, up to {self.shapes[-1][0]:,} tokens; "
            f"{self.average:.1%} of waste expected, {self.below_128:.1%} below {SMALL} tokens"
        )
        if self.beyond <= 1.0:
            return said
        return f"{said}; more than {AVERAGE:.0%} and {BELOW_SMALL:.0%} is possible"

    def find(self, tokens: int, sentences: int) -> Pair | None:
        """The bucket that a batch is filled up to; None if it fits into none.

        The cheapest of those that waste few tokens, or of those that waste least.
        """
        first = bisect_left(self.shapes, (tokens, 0))
        fits = [shape for shape in self.shapes[first:] if shape[1] >= sentences]
        if not fits:
            return None
        most = max(fits[0][0], _bounded(tokens))
        near = (shape for shape in fits if shape[0] <= most)
        return min(near, key=lambda shape: shape[0] + SENTENCE * shape[1])

    def split(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """Sentences, in their order, in about equal groups that each fit a bucket."""
        if self.find(batch.tokens, batch.sentences) is not None:
            return [np.arange(batch.sentences)]
        tokens, sentences = self.shapes[-1]
        even = batch.tokens / max(-(-batch.tokens // tokens), -(-batch.sentences // sentences))
        groups: list[list[int]] = []
        held = done = 0
        for number, length in enumerate(batch.lengths.tolist()):
            full = held + length > tokens or (bool(groups) and len(groups[-1]) == sentences)
            if full or done + length / 2 > even * len(groups):
                groups.append([])
                held = 0
            groups[-1].append(number)
            held, done = held + length, done + length
        return [np.array(group, np.intp) for group in groups]

    def filled(self, batches: Ints) -> Ints:
        """As :meth:`find`, for many batches that all fit: ``[n, 2]`` to ``[n, 2]``."""
        shapes = np.array(self.shapes, np.int64)
        fits = (shapes[None] >= batches[:, None]).all(2)
        most = np.maximum(shapes[fits.argmax(1), 0], _bounded(batches[:, 0]))
        fits &= shapes[None, :, 0] <= most[:, None]
        found = np.where(fits, shapes @ (1.0, SENTENCE), np.inf).argmin(1)
        return np.asarray(shapes[found], np.int64)


def _bounded(tokens: Any) -> Any:
    """What a batch may be filled up to for the sake of fewer empty sentences."""
    return tokens + tokens * 2 * AVERAGE


@cache
def choose_buckets(lengths: tuple[int, ...], max_tokens: int, most: int = MOST_GRAPHS) -> Buckets:
    """At most ``most`` buckets for texts of these lengths, with the waste that is to be expected.

    Where the aims cannot both be met, the buckets are those that cost least, and say so.

    Args:
        lengths: tokens of the corpus's texts, or of their quantiles; at least one.
        max_tokens: of one text, as the encoder takes it.
        most: graphs, at least 4.
    """
    largest = max(MOST_TOKENS, max_tokens)
    texts = np.minimum(np.asarray(lengths, np.int64), max_tokens)
    kinds, others = traffic(texts, largest, seed=0), traffic(texts, largest, seed=1)
    most_sentences = largest // kinds.shortest
    best: tuple[tuple[float, float], Buckets] | None = None
    for emphasis in EMPHASES:
        batches, weights = kinds.weighed(emphasis)
        sentences = np.array([eighths(b, 1) for b in batches[:, 1].tolist()], np.int64)
        batches = np.stack([batches[:, 0], sentences], 1)
        levels = _possible_levels(batches[:, 0], largest)
        for ends in _token_levels(batches, weights, levels, most)[most // 2 - 1 : most - 1 : 4]:
            shapes = _sentence_levels(batches, weights, ends, most - 1)
            shapes.add((largest, max(most_sentences, int(sentences.max()))))
            found, cost = _measured(tuple(sorted(shapes)), others)
            rank = max(1.0, found.beyond), cost
            if best is None or rank < best[0]:
                best = rank, found
        if best is not None and best[0][0] <= 1.0:
            break
    assert best is not None
    return best[1]


def _measured(shapes: tuple[Pair, ...], kinds: Kinds) -> tuple[Buckets, float]:
    """These shapes with their waste, and what filled batches cost.

    What is wasted is that of as many batches of each kind, or of the worst of those that are more
    than one text: which of them come is left to who calls. In the cost a token of each kind counts
    the same.
    """
    plain = Buckets(shapes)
    tails, own, cost = [], [], 0.0
    for kind in kinds.expected:
        filled = plain.filled(kind)
        tails.append(float((filled - kind)[:, 0].mean()))
        own.append(float(kind[:, 0].mean()))
        cost += float((filled @ (1.0, SENTENCE)).sum() / kind[:, 0].sum())
    small = kinds.small
    below = float((plain.filled(small) - small)[:, 0].sum() / small[:, 0].sum())
    worst = max(tail / tokens for tail, tokens in zip(tails[1:], own[1:], strict=True))
    return Buckets(shapes, max(worst, sum(tails) / sum(own)), below), cost


def _possible_levels(tokens: Ints, largest: int) -> Ints:
    """The batches' tokens, each up to the next 32nd of its power of two."""
    step = np.maximum(1, np.exp2(np.ceil(np.log2(tokens)) - 6).astype(np.int64))
    return np.unique(np.append(-(-tokens // step) * step, largest))


def _token_levels(batches: Ints, weights: Floats, levels: Ints, most: int) -> list[Ints]:
    """The levels with the least wasted tokens: of one, of two, and so on up to ``most``."""
    place = np.searchsorted(levels, batches[:, 0])
    held = np.append(0.0, np.bincount(place, weights, len(levels)).cumsum())
    # [i, j]: what it costs to fill what lies in levels i to j up to level j.
    cost = (held[None, 1:] - held[:-1, None]) * levels[None, :]
    cost[np.tril_indices(len(levels), -1)] = np.inf
    least = cost[0]
    came: list[NDArray[np.intp]] = []
    found = [levels[-1:]]
    for _ in range(1, most):
        # Where there are no more levels than this, more change nothing.
        if len(found) < len(levels):
            total = least[:-1, None] + cost[1:]
            came.append(total.argmin(0))
            least = total.min(0)
        ends = [len(levels) - 1]
        for before in reversed(came):
            ends.append(int(before[ends[-1]]))
        found.append(levels[ends[::-1]])
    return found


def _sentence_levels(batches: Ints, weights: Floats, ends: Ints, most: int) -> set[Pair]:
    """Buckets of these levels of tokens, with more levels of sentences where that saves most."""
    place = np.searchsorted(ends, batches[:, 0])
    shapes: set[Pair] = set()
    turn = itertools.count()
    worth: list[tuple[float, int, int, int, Ints, Floats]] = []

    def add(number: int, values: Ints, parts: Floats) -> None:
        """A level of sentences, and what another one below it would save."""
        shapes.add((int(ends[number]), int(values[-1])))
        saved = (values[-1] - values) * parts.cumsum()
        at = int(saved.argmax())
        heapq.heappush(worth, (-float(saved[at]), next(turn), at, number, values, parts))

    for number in range(len(ends)):
        # What came near this level may come to it.
        near = np.abs(place - number) <= NEAR
        if (place == number).any():
            values, where = np.unique(batches[near, 1], return_inverse=True)
            add(number, values, np.bincount(where, weights[near]).astype(np.float64))
    while len(shapes) < most and worth[0][0] < 0:
        _, _, at, number, values, parts = heapq.heappop(worth)
        for part in (slice(at + 1), slice(at + 1, None)):
            add(number, values[part], parts[part])
    return shapes
