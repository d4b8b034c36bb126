"""Where a token of a packed batch looks in layers that see a window of the text only.

Queries are cut into blocks; a block's keys are its own tokens and those up to a window before and
behind. So attention costs ``O(T · w)``, and no score of two tokens further apart is computed but
at the blocks' edges (local attention of Longformer, Beltagy et al., 2020). Where sentences are
short, one block holds a whole sentence, which is the padded attention of every other layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Windows", "cut_windows"]

# Smaller blocks than this would compute little but their neighbours.
LEAST_BLOCK = 16

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """N blocks of Q queries and K keys each.

    Attributes:
        queries: ``[N, Q]`` int32, slot -> token; an empty slot points at a token of its sentence.
        keys: ``[N, K]`` int32, slot -> token, filled up in the same way.
        slots: ``[T]`` int32, token -> slot, into N·Q.
        bias: ``[N, 1, Q, K]`` float32: 0 where a query sees a key.
        whole: whether a block is a sentence: Q and K are the longest one's tokens.
    """

    queries: IntArray
    keys: IntArray
    slots: IntArray
    bias: NDArray[np.float32]
    whole: bool

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By their names in the graph."""
        return {
            "window_queries": self.queries,
            "window_keys": self.keys,
            "window_slots": self.slots,
            "window_bias": self.bias,
        }


def cut_windows(
    starts: IntArray, lengths: IntArray, window: int, masked: float, width: int = 0
) -> Windows:
    """Whole sentences or blocks, whichever computes fewer scores.

    Args:
        starts: ``[B]``, a sentence's first token.
        lengths: ``[B]``, its tokens.
        window: how far a token sees to each side.
        masked: the bias of a key that is not seen.
        width: slots of a whole sentence, where that is told; the choice follows from it alone then.
    """
    longest = width or int(lengths.max())
    block = max(window, LEAST_BLOCK)
    reach = block + 2 * window
    counts = -(-lengths // block)
    blocks = int(counts.sum())
    most = len(lengths) * -(-width // block) if width else blocks
    if most * block * reach >= len(lengths) * longest**2:
        first = np.zeros(len(lengths), np.int32)
        return _lay(starts, lengths, first, longest, 0, window, masked)
    sentence = np.repeat(np.arange(len(lengths)), counts)
    before = np.cumsum(counts) - counts
    first = (np.arange(blocks) - before[sentence]).astype(np.int32) * np.int32(block)
    return _lay(starts[sentence], lengths[sentence], first, block, window, window, masked)


def _lay(
    starts: IntArray, lengths: IntArray, first: IntArray, size: int, margin: int, window: int,
    masked: float,
) -> Windows:  # fmt: skip
    """Blocks of ``size`` queries from ``first`` on, with ``margin`` keys more at either end."""
    query = first[:, None] + np.arange(size, dtype=np.int32)
    key = first[:, None] + np.arange(-margin, size + margin, dtype=np.int32)
    real = query < lengths[:, None]
    last = lengths[:, None] - 1
    slots = np.empty(int(real.sum()), np.int32)
    tokens = starts[:, None] + query
    slots[tokens[real]] = np.flatnonzero(real)
    seen = (key >= 0) & (key <= last)
    near = np.abs(query[0][:, None] - key[0][None, :]) <= window
    bias = np.where(near[None] & seen[:, None, :], np.float32(0), np.float32(masked))[:, None]
    return Windows(
        starts[:, None] + np.minimum(query, last),
        starts[:, None] + np.clip(key, 0, last),
        slots,
        bias,
        whole=margin == 0,
    )
