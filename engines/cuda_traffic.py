"""The batches that an engine will be asked, drawn from the lengths of a corpus's texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xopt.packing import plan_batches

__all__ = ["SMALL", "Kinds", "traffic"]

# Batches below this many tokens have a bound of their own on what they waste.
SMALL = 128
# Tokens of a batch as sessions and servers fill it.
FULL_TOKENS = 4096
# Pools of texts, texts of each, and groups that are drawn from each in each of two ways.
POOLS, POOL, DRAWN = 4, 2048, 400
# How much the wasted tokens of alone, drawn, full, padded and any batches count for buckets.
SHARES = (1.0, 3.0, 1.0, 1.0, 0.1)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kinds:
    """(T, B) of batches, an array for each kind.

    Attributes:
        alone: a text at a time.
        drawn: 2 to 256 texts, as they come or of like lengths: what a server puts together.
        full: of like lengths, as :func:`~xopt.packing.plan_batches` makes them of many texts.
        padded: of like lengths, as they are made where padding counts.
        any_size: of every size there can be, so that other texts than the corpus's cost little.
    """

    alone: Ints
    drawn: Ints
    full: Ints
    padded: Ints
    any_size: Ints

    @property
    def expected(self) -> tuple[Ints, ...]:
        """The kinds that the expected waste is counted over, single texts first."""
        return self.alone, self.drawn, self.full, self.padded

    @property
    def small(self) -> Ints:
        """Every batch below :data:`SMALL` tokens, those of any size too: a corpus may have few."""
        batches = np.concatenate((*self.expected, self.any_size))
        return batches[batches[:, 0] < SMALL]

    @property
    def shortest(self) -> int:
        """Tokens of the shortest text."""
        return int(self.alone[:, 0].min())

    def weighed(self, small: float) -> tuple[Ints, Floats]:
        """All batches, and how much a wasted token of each counts.

        Between a token that counts the same wherever it is wasted, and a share of waste that counts
        the same in every batch.

        Args:
            small: how much small batches count beside the kinds they are of.
        """
        batches, weights = [], []
        kinds = (*self.expected, self.any_size, self.small)
        for share, kind in zip((*SHARES, small), kinds, strict=True):
            roots = np.sqrt(kind[:, 0])
            batches.append(kind)
            weights.append(share / roots / max(1.0, roots.sum()))
        return np.concatenate(batches), np.concatenate(weights)


def traffic(lengths: Ints, largest: int, seed: int) -> Kinds:
    """The same batches for the same arguments.

    Args:
        lengths: tokens of the texts, or of their quantiles.
        largest: tokens of the largest batch.
        seed: of what is drawn.
    """
    generator = np.random.default_rng(seed)
    alone = np.stack([lengths, np.ones_like(lengths)], 1)
    drawn, full, padded = [], [], []
    for _ in range(POOLS):
        pool = np.sort(generator.choice(lengths, POOL))
        sizes = np.exp2(generator.uniform(1, 8, DRAWN)), generator.integers(2, 65, DRAWN)
        for size in np.concatenate(sizes).astype(np.int64):
            start = int(generator.integers(POOL - size))
            for group in (generator.choice(pool, size), pool[start : start + size]):
                within = max(1, int(np.searchsorted(group.cumsum(), FULL_TOKENS, side="right")))
                drawn.append((group[:within].sum(), within))
        for order in plan_batches(pool.tolist(), FULL_TOKENS):
            full.append((pool[order].sum(), len(order)))
        left = pool
        while len(left):
            group = left[-max(1, FULL_TOKENS // int(left[-1])) :]
            padded.append((group.sum(), len(group)))
            left = left[: -len(group)]
    tokens = np.unique(np.geomspace(1, largest, 200).astype(np.int64))
    # Of texts as they mostly are, and of short ones: a batch of those has more sentences.
    usual = (max(1, int(np.percentile(lengths, part))) for part in (50, 5))
    any_size = np.concatenate([np.stack([tokens, np.maximum(1, tokens // n)], 1) for n in usual])
    some, filled, rectangles = (np.array(pairs, np.int64) for pairs in (drawn, full, padded))
    return Kinds(alone, some, filled, rectangles, any_size)
