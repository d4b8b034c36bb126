"""Optimization profiles: what sizes of a batch an engine is compiled for, in buckets of length.

TensorRT compiles its attention kernel for the longest sentence of a profile and spends that much on
every sentence, so short batches get profiles of their own. Activation memory grows with a profile's
tokens, so these stay at what a batch needs. Kernels are chosen for one usual shape of a profile: a
batch full of the corpus's own sentences. A bucket of length that the corpus hardly fills gets no
profile of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.packing import PackedBatch

__all__ = ["BUCKETS", "LengthProfile", "choose_profile", "plan_profiles", "split_batch"]

# The longest sentence of each profile but the last, which is the model's own limit.
BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096)
# Of one profile, and so of one run of the engine.
MOST_SENTENCES = 256
# A bucket with a smaller share of the sentences is served by the next one.
LEAST_SHARE = 0.02
# Tokens of the profile for single queries, where nothing is padded.
FEW_TOKENS = 1024

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LengthProfile:
    """The largest batch of one profile.

    Attributes:
        sentences: B.
        longest: S, tokens of the longest sentence.
        tokens: T.
        usual: B, S and T of a full batch of usual sentences; needed to build alone.
    """

    sentences: int
    longest: int
    tokens: int
    usual: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        """Check that a sentence of full length fits."""
        if min(self.sentences, self.longest) < 1 or self.tokens < self.longest:
            raise InputError(f"A profile of {self.bounds()} holds no sentence of its own length.")

    def takes(self, batch: PackedBatch) -> bool:
        """Whether the batch fits as it is."""
        return (
            batch.longest <= self.longest
            and batch.sentences <= self.sentences
            and batch.tokens <= self.tokens
        )

    def bounds(self) -> dict[str, int]:
        """What a manifest says of it, and the runtime needs."""
        return {"sentences": self.sentences, "longest": self.longest, "tokens": self.tokens}

    def shapes(self, inputs: Mapping[str, Sequence[str | int]]) -> dict[str, list[Shape]]:
        """``input -> [smallest, usual, largest]`` shape.

        Args:
            inputs: ``input -> shape`` in which T, B, B_plus_1 and S stand for what varies.
        """
        largest = (self.sentences, self.longest, self.tokens)
        sizes = [
            {"B": b, "B_plus_1": b + 1, "S": s, "T": t}
            for b, s, t in ((1, 1, 1), self.usual or largest, largest)
        ]
        return {
            name: [tuple(size[d] if isinstance(d, str) else d for d in shape) for size in sizes]
            for name, shape in inputs.items()
        }


def plan_profiles(
    lengths: Sequence[int], *, max_tokens: int, batch_tokens: int, padded: bool
) -> list[LengthProfile]:
    """Profiles for text of these lengths, the first that takes a batch being the one to use.

    Args:
        lengths: tokens of the corpus's sentences, or of their quantiles; with none, every bucket
            gets a profile.
        max_tokens: of one sentence, as the model takes it.
        batch_tokens: most tokens of a batch; with padding, where the graph pads.
        padded: whether the graph pads its attention, so that its cost follows the longest sentence.
    """
    sizes = np.minimum(np.asarray(lengths, np.int64), max_tokens)
    most = max(max_tokens, batch_tokens)
    if not padded:
        few = min(most, max(max_tokens, FEW_TOKENS))
        bounds = [few] if few == most else [few, most]
        return [_profile(sizes, max_tokens, bound, MOST_SENTENCES) for bound in bounds]
    profiles = []
    low = 0
    for bound in [b for b in BUCKETS if b < max_tokens] + [max_tokens]:
        inside = sizes[(sizes > low) & (sizes <= bound)]
        if len(inside) >= LEAST_SHARE * len(sizes) or bound == max_tokens:
            sentences = min(MOST_SENTENCES, max(1, batch_tokens // bound))
            tokens = min(most, sentences * bound)
            profiles.append(_profile(inside, bound, tokens, sentences))
            low = bound
    return profiles


def _profile(
    lengths: NDArray[np.int64], longest: int, tokens: int, sentences: int
) -> LengthProfile:
    """The profile; its usual batch is as full as sentences of these lengths make it."""
    inside = lengths if len(lengths) else np.array([longest])
    mean = math.ceil(inside.mean())
    usual = min(sentences, max(1, tokens // mean))
    return LengthProfile(
        sentences=sentences,
        longest=longest,
        tokens=tokens,
        usual=(usual, max(mean, int(np.percentile(inside, 90))), usual * mean),
    )


def choose_profile(profiles: Sequence[LengthProfile], batch: PackedBatch) -> int | None:
    """The first profile that takes the batch; None if it must be split.

    Raises:
        InputError: a sentence is longer than every profile.
    """
    if batch.longest > profiles[-1].longest:
        raise InputError(
            f"A sentence has {batch.longest} tokens; this engine takes {profiles[-1].longest}.",
            hint="Cut the text, or split it.",
        )
    for number, profile in enumerate(profiles):
        if profile.takes(batch):
            return number
    return None


def split_batch(profiles: Sequence[LengthProfile], batch: PackedBatch) -> list[NDArray[np.intp]]:
    """Sentences in groups that each fit one profile, like lengths together.

    A batch that fits as it is stays as it is.

    Raises:
        InputError: a sentence is longer than every profile.
    """
    if choose_profile(profiles, batch) is not None:
        return [np.arange(batch.sentences)]
    order = np.argsort(batch.lengths, kind="stable")
    groups: list[NDArray[np.intp]] = []
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and _fits(profiles, batch.lengths[order[start : stop + 1]]):
            stop += 1
        groups.append(order[start:stop])
        start = stop
    return groups


def _fits(profiles: Sequence[LengthProfile], lengths: NDArray[Any]) -> bool:
    return any(
        lengths.max() <= profile.longest
        and len(lengths) <= profile.sentences
        and lengths.sum() <= profile.tokens
        for profile in profiles
    )
