"""How a batch is cut into groups that run apart."""

from __future__ import annotations

import heapq
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["balanced_groups", "length_groups", "padded_width", "width_groups"]

# Slots that a sentence's padded attention grows by. Wider steps compute more padding, narrower ones
# cut a batch into more groups, each of which reads all weights.
WIDTH = 32

Count = TypeVar("Count", int, NDArray[np.int64])


def length_groups(
    lengths: NDArray[np.integer], groups: int, *, slot_cost: float
) -> list[NDArray[np.intp]]:
    """Split a batch into at most ``groups`` groups of like lengths that cost about the same.

    The cost of a group is its tokens plus ``slot_cost`` times the attention slots ``B · S²`` that
    a padded attention over it computes; the largest group's cost is made as small as one cut of
    the length-sorted batch can make it, again and again.

    Args:
        lengths: ``[B]``, tokens of each sentence.
        groups: at least 1.
        slot_cost: what one attention slot costs, in tokens.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")

    def split(part: NDArray[np.intp], into: int) -> list[NDArray[np.intp]]:
        if into == 1 or len(part) < 2:
            return [part]
        sizes = lengths[part].astype(np.float64)
        counts = np.arange(1, len(part), dtype=np.float64)
        tokens = np.cumsum(sizes)
        left = tokens[:-1] + slot_cost * counts * sizes[:-1] ** 2
        right = tokens[-1] - tokens[:-1] + slot_cost * (len(part) - counts) * sizes[-1] ** 2
        less, more = into // 2, into - into // 2
        cut = int(np.argmin(np.maximum(left / less, right / more))) + 1
        return split(part[:cut], less) + split(part[cut:], more)

    return split(order, groups)


def balanced_groups(
    lengths: NDArray[np.integer], groups: int, *, slot_cost: float
) -> list[NDArray[np.intp]]:
    """Split a batch into at most ``groups`` groups that cost about the same, nothing being padded.

    A sentence of n tokens costs ``n + slot_cost · n²``; the costliest ones are given away first,
    each to the group that has least (Graham, 1969: at most 4/3 of the best there is).

    Args:
        lengths: ``[B]``, tokens of each sentence.
        groups: at least 1.
        slot_cost: what one attention slot costs, in tokens.
    """
    sizes = np.asarray(lengths, np.float64)
    costs = sizes + slot_cost * sizes**2
    chosen: list[list[int]] = [[] for _ in range(min(groups, len(sizes)))]
    heap = [(0.0, number) for number in range(len(chosen))]
    for sentence in np.argsort(-costs, kind="stable"):
        cost, number = heap[0]
        chosen[number].append(int(sentence))
        heapq.heapreplace(heap, (cost + float(costs[sentence]), number))
    return [np.array(sorted(group), np.intp) for group in chosen]


def padded_width(tokens: Count) -> Count:
    """Slots that each sentence of ``tokens`` is padded to, whatever its batch mates are."""
    return -(-tokens // WIDTH) * WIDTH


def width_groups(
    lengths: NDArray[np.integer], groups: int, *, slot_cost: float
) -> list[NDArray[np.intp]]:
    """Split a batch into groups of one :func:`padded_width` each, the costliest first.

    A sum over padding has other last bits at another width. Here the width is of the sentence
    alone, and so the answer is.

    Args:
        lengths: ``[B]``, tokens of each sentence.
        groups: how many to aim at; there are as many as widths at least.
        slot_cost: what one attention slot costs, in tokens.
    """
    widths = padded_width(np.asarray(lengths, np.int64))
    costs = lengths + slot_cost * widths**2
    share = float(costs.sum()) / groups
    found: list[NDArray[np.intp]] = []
    for width in np.unique(widths)[::-1]:
        alike = np.flatnonzero(widths == width)
        parts = max(1, round(float(costs[alike].sum()) / share))
        found += [alike[part] for part in balanced_groups(lengths[alike], parts, slot_cost=0)]
    return sorted(found, key=lambda group: -float(costs[group].sum()))
