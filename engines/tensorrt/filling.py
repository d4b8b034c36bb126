"""Filling a batch up to a bucket, so that few shapes serve all and each keeps its CUDA graph.

What is added is never read: tokens behind the last sentence, empty sentences, and masked slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.buckets import STEP, eighths, power_of_two
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.packing import MASKED, PackedBatch

__all__ = ["Sizes", "bucket_of", "fill"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sizes:
    """B, S and T of what a program runs."""

    sentences: int
    longest: int
    tokens: int


def bucket_of(batch: PackedBatch, profile: LengthProfile, *, padded: bool) -> Sizes:
    """The bucket of a batch within its profile.

    Tokens go up in eighths, sentences in powers of two and slots in steps of 16. In the padded form
    every added sentence costs its slots, so there sentences go up in eighths too.

    Args:
        batch: fits into the profile.
        profile: what bounds it.
        padded: whether the graph pads its attention.
    """
    sentences = eighths(batch.sentences, 1) if padded else power_of_two(batch.sentences)
    return Sizes(
        sentences=min(sentences, profile.sentences),
        longest=min(-(-batch.longest // STEP) * STEP, profile.longest),
        tokens=min(eighths(batch.tokens), profile.tokens),
    )


def fill(arrays: Mapping[str, NDArray[Any]], batch: PackedBatch, sizes: Sizes) -> Arrays:
    """The arrays of a batch as those of a batch of ``sizes``.

    Args:
        arrays: of ``batch``, as :func:`~xopt.engines.tensorrt.feeds.tensorrt_arrays` makes them.
        batch: no larger than ``sizes``.
        sizes: what to fill it up to.
    """
    b, s, t = sizes.sentences, sizes.longest, sizes.tokens
    shapes = {
        "input_ids": ((t,), 0),
        "position_ids": ((t,), 0),
        "token_type_ids": ((t,), 0),
        "pad_index": ((b, s, 1), 0),
        "unpad_index": ((t, 1), 0),
        "first_index": ((b, 1), 0),
        "attention_bias": ((b, 1, 1, s), MASKED),
        "cu_seqlens": ((b + 1,), batch.tokens),
        "prompt_tokens": ((b, 1), 0),
        # Of what is added, attention_bias masks the slots already.
        "window_mask": ((1, 1, s, s), 0),
    }
    filled: Arrays = {}
    for name, values in arrays.items():
        shape, filler = shapes[name]
        whole = np.full(shape, filler, values.dtype)
        whole[tuple(slice(size) for size in values.shape)] = values
        filled[name] = whole
    if "unpad_index" in filled:
        # A slot's number counts the slots of the sentences before it.
        row = arrays["unpad_index"] // batch.slots
        filled["unpad_index"][: batch.tokens] += row * (s - batch.slots)
    return filled
