"""Optimization profiles: what sizes of a batch an engine is compiled for, in buckets of length.

TensorRT compiles its attention kernel for the longest sentence of a profile and spends that much on
every sentence, so short batches get profiles of their own. Activation memory grows with a profile's
tokens, so these stay at what a batch needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LengthProfile:
    """The largest batch of one profile.

    Attributes:
        sentences: B.
        longest: S, tokens of the longest sentence.
        tokens: T.
    """

    sentences: int
    longest: int
    tokens: int

    def __post_init__(self) -> None:
        """Check that a sentence of full length fits."""
        if min(self.sentences, self.longest) < 1 or self.tokens < self.longest:
            raise InputError(f"A profile of {asdict(self)} holds no sentence of its own length.")

    def takes(self, batch: PackedBatch) -> bool:
        """Whether the batch fits as it is."""
        return (
            batch.longest <= self.longest
            and batch.sentences <= self.sentences
            and batch.tokens <= self.tokens
        )

    def shapes(self, inputs: Mapping[str, Sequence[str | int]]) -> dict[str, list[Shape]]:
        """``input -> [smallest, usual, largest]`` shape.

        Args:
            inputs: ``input -> shape`` in which T, B and S stand for what varies.
        """
        usual = max(1, self.sentences // 2)
        # Real text fills about three quarters of a padded batch.
        tokens = max(self.longest, usual * self.longest * 3 // 4)
        sizes = (
            {"B": 1, "S": 1, "T": 1},
            {"B": usual, "S": self.longest, "T": min(tokens, self.tokens)},
            {"B": self.sentences, "S": self.longest, "T": self.tokens},
        )
        return {
            name: [tuple(size[d] if isinstance(d, str) else d for d in shape) for size in sizes]
            for name, shape in inputs.items()
        }


def plan_profiles(max_tokens: int, batch_tokens: int) -> list[LengthProfile]:
    """One profile for each bucket of length, the shortest first.

    Args:
        max_tokens: of one sentence, as the model takes it.
        batch_tokens: most slots of a batch, tokens and padding together.
    """
    lengths = [length for length in BUCKETS if length < max_tokens] + [max_tokens]
    profiles = []
    for length in lengths:
        sentences = min(MOST_SENTENCES, max(1, batch_tokens // length))
        profiles.append(LengthProfile(sentences, length, tokens=sentences * length))
    return profiles


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
