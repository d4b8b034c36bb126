"""The sizes that a batch is rounded up to, so that few programs' kernels are ever made.

OpenVINO makes and keeps kernels for every number of rows that it meets, about a megabyte for each.
Rows behind the last sentence belong to nobody: attention gives them 0, nothing reads them, and
their answers are dropped. Sentences behind the last one have no token.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xopt.packing import MASKED, PackedBatch

__all__ = ["Feed", "fill", "rounded_sentences", "rounded_tokens", "whole"]

Arrays = dict[str, NDArray[np.generic]]

PER_TOKEN = ("input_ids", "position_ids", "token_type_ids", "unpad_index", "window_slots")


@dataclass(frozen=True)
class Feed:
    """What a program reads for a part of a batch.

    Attributes:
        arrays: by the names of its inputs.
        rows: of the answer that are the part's; those behind are nobody's.
        sizes: numbers of rows for which it may have to make kernels.
    """

    arrays: Arrays
    rows: int
    sizes: frozenset[int]


def rounded_tokens(count: int) -> int:
    """The number of rows that ``count`` tokens run as.

    Steps of 4 up to 64, of 8 up to 512, then 32 steps from each power of two to the next: 1 to 3 %
    more rows, and 170 sizes up to 4,096.
    """
    step = 4 if count <= 64 else max(8, _power(count) // 32)
    return -(-count // step) * step


def rounded_sentences(count: int) -> int:
    """The number of sentences that ``count`` run as: 4 steps from a power of two to the next."""
    step = max(1, _power(count) // 4)
    return -(-count // step) * step


def whole(
    part: PackedBatch, inputs: Collection[str], *, window: int | None, per_token: bool
) -> Feed:
    """The arrays of a part as they are, for a program that has no place for more rows."""
    arrays = part.arrays(window, inputs)
    rows = part.tokens if per_token else part.sentences
    return Feed(arrays, rows, frozenset((part.tokens, part.sentences)))


def fill(
    part: PackedBatch, inputs: Collection[str], *, window: int | None, packed: bool, per_token: bool
) -> Feed:
    """The arrays of a part, rounded up.

    Args:
        part: the sentences.
        inputs: names of what the program reads.
        window: of :meth:`PackedBatch.arrays`.
        packed: whether attention is our own, so that sentences and padding cost nothing.
        per_token: whether the answer has a row per token.
    """
    feed = whole(part, inputs, window=window, per_token=per_token)
    arrays, tokens = feed.arrays, rounded_tokens(part.tokens)
    for name in PER_TOKEN:
        if name in arrays:
            arrays[name] = _longer(arrays[name], (tokens,))
    sentences = part.sentences
    # A sentence without a token begins in a row, so there has to be one.
    if packed and tokens > part.tokens:
        sentences = rounded_sentences(part.sentences)
    if packed:
        if "cu_seqlens" in arrays:
            arrays["cu_seqlens"] = _longer(arrays["cu_seqlens"], (sentences + 1,), part.tokens)
        if "prompt_tokens" in arrays:
            arrays["prompt_tokens"] = _longer(arrays["prompt_tokens"], (sentences,))
        longest = rounded_tokens(part.longest)
        if "pad_index" in arrays:
            arrays["pad_index"] = _longer(arrays["pad_index"], (sentences, longest))
        if "attention_bias" in arrays:
            shape = (sentences, 1, 1, longest)
            arrays["attention_bias"] = _longer(arrays["attention_bias"], shape, MASKED)
    return Feed(arrays, feed.rows, frozenset((tokens, sentences)))


def _power(count: int) -> int:
    """The largest power of two that is below ``count``, or 1."""
    return 1 << max(0, (count - 1).bit_length() - 1)


def _longer(
    array: NDArray[np.generic], shape: tuple[int, ...], value: float = 0
) -> NDArray[np.generic]:
    """``array`` in the first corner of one of ``shape``, ``value`` in the rest."""
    if array.shape == shape:
        return array
    found = np.full(shape, value, array.dtype)
    found[tuple(slice(size) for size in array.shape)] = array
    return found
