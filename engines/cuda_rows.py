"""How many rows of queries a tile of attention has, chosen from a corpus's lengths.

A sentence is cut into tiles of so many rows, and each reads the keys step by step, the last step
whole as well. Short sentences fill a tile of 64 rows and steps of 32 keys better, long ones read
their keys half as often in one of 128 rows. It is one number of the bundle, not of a batch, so that
a sentence's answer does not depend on its batch mates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xopt.artifacts import Bundle
from xopt.errors import ArtifactError

__all__ = ["FIELD", "KEYS", "MOST_ROWS", "choose_rows", "read_rows"]

# Rows of a tile to the keys of its step, as in engines/kernels/attention_tiles.py, which cannot be
# imported without Triton; the steps of other head_dims and of an int8 result may be shorter.
KEYS = {128: 64, 64: 32}
MOST_ROWS = max(KEYS)
FIELD = "attention_rows"
# What bringing a key and its value into shared memory costs, in rows that are multiplied by them:
# an estimate: 256 bytes at 64 a clock beside 128 multiplications at a third of an SM's peak.
READ = 16


def choose_rows(lengths: Sequence[int], max_tokens: int, windows: Sequence[int | None] = ()) -> int:
    """The rows with which attention over texts of these lengths costs least: 64 or 128.

    Args:
        lengths: tokens of the corpus's texts, or of their quantiles; at least one.
        max_tokens: of one text, as the encoder takes it.
        windows: how far a token sees in each layer; empty where every layer sees all.
    """
    texts = np.minimum(np.asarray(lengths, np.int64), max_tokens)
    cost = {rows: sum(_cost(texts, rows, window) for window in windows or (None,)) for rows in KEYS}
    return min(KEYS, key=lambda rows: cost[rows])


def _cost(lengths: np.ndarray, rows: int, window: int | None) -> int:
    """Of one layer's attention, in rows times keys."""
    first = np.arange(0, lengths.max(), rows)[None, :]
    end = lengths[:, None]
    seen = np.broadcast_to(end, (len(lengths), first.size))
    if window is not None:
        seen = np.minimum(first + rows + window, end) - np.maximum(first - window, 0)
    steps = -(-seen // KEYS[rows])
    return int(steps[first < end].sum()) * KEYS[rows] * (rows + READ)


def read_rows(bundle: Bundle) -> int:
    """What :func:`choose_rows` chose; the larger tile where the bundle is older than the choice.

    Raises:
        ArtifactError: the manifest names rows that no tile has.
    """
    rows = bundle.manifest["engine"].get(FIELD, MOST_ROWS)
    if rows not in KEYS:
        raise ArtifactError(
            f"{bundle.folder}: its manifest asks for attention in tiles of {rows!r} rows; there are"
            f" tiles of {' and '.join(map(str, sorted(KEYS)))}.",
            hint="Build it again with this version of xopt.",
        )
    return int(rows)
