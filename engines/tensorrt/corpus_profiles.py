"""Optimization profiles after the lengths of real text: what a corpus's batches look like.

TensorRT chooses its kernels for one usual shape per profile. Here that is a batch full of the
corpus's own sentences, in tokens and in sentences; a bucket of length that the corpus hardly fills
gets no profile of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xopt.engines.tensorrt.profiles import BUCKETS, MOST_SENTENCES, LengthProfile, Shape

__all__ = ["CorpusProfile", "corpus_profiles"]

# A bucket with a smaller share of the sentences is served by the next one.
LEAST_SHARE = 0.02
# Tokens of the profile for single queries, where nothing is padded.
FEW_TOKENS = 1024


@dataclass(frozen=True)
class CorpusProfile(LengthProfile):
    """The largest batch of one profile, and the usual one.

    Attributes:
        usual: B, S and T of a full batch of usual sentences.
    """

    usual: tuple[int, int, int] = (1, 1, 1)

    def shapes(self, inputs: Mapping[str, Sequence[str | int]]) -> dict[str, list[Shape]]:
        """``input -> [smallest, usual, largest]`` shape; see :meth:`LengthProfile.shapes`."""
        largest = (self.sentences, self.longest, self.tokens)
        sizes = [
            {"B": b, "B_plus_1": b + 1, "S": s, "T": t}
            for b, s, t in ((1, 1, 1), self.usual, largest)
        ]
        return {
            name: [tuple(size[d] if isinstance(d, str) else d for d in shape) for size in sizes]
            for name, shape in inputs.items()
        }


def corpus_profiles(
    lengths: Sequence[int], *, max_tokens: int, batch_tokens: int, padded: bool
) -> list[CorpusProfile]:
    """Profiles for text of these lengths, the first that takes a batch being the one to use.

    Args:
        lengths: tokens of the corpus's sentences, or of their quantiles.
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
) -> CorpusProfile:
    """The profile; its usual batch is as full as sentences of these lengths make it."""
    inside = lengths if len(lengths) else np.array([longest])
    mean = math.ceil(inside.mean())
    usual = min(sentences, max(1, tokens // mean))
    return CorpusProfile(
        sentences=sentences,
        longest=longest,
        tokens=tokens,
        usual=(usual, max(mean, int(np.percentile(inside, 90))), usual * mean),
    )
