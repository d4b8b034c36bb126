"""Profiles follow the corpus, and take every batch of it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xopt.engines.tensorrt.profiles import choose_profile, plan_profiles, split_batch
from xopt.packing import Encoding, PackedBatch, pack

INPUTS: dict[str, list[str | int]] = {
    "input_ids": ["T"],
    "pad_index": ["B", "S", 1],
    "cu_seqlens": ["B_plus_1"],
}


def batch_of(lengths: list[int]) -> PackedBatch:
    zeros = [np.zeros(n, np.int32) for n in lengths]
    return pack([Encoding(z, z) for z in zeros], first_position=2)


@given(
    st.lists(st.integers(1, 512), min_size=1, max_size=60),
    st.sampled_from([64, 1024, 8192]),
    st.booleans(),
)
def test_shapes_are_ordered_and_every_batch_is_taken(
    lengths: list[int], batch_tokens: int, padded: bool
) -> None:
    profiles = plan_profiles(lengths, max_tokens=512, batch_tokens=batch_tokens, padded=padded)
    for profile in profiles:
        for name, (smallest, usual, largest) in profile.shapes(INPUTS).items():
            assert all(a <= b <= c for a, b, c in zip(smallest, usual, largest, strict=True)), name
        b, s, t = profile.usual
        assert t <= b * s or not padded
    batch = batch_of(lengths)
    for group in split_batch(profiles, batch):
        assert choose_profile(profiles, batch.select(group)) is not None
    assert choose_profile(profiles, batch_of([512])) is not None


def test_a_corpus_of_short_sentences_gets_no_profile_for_middling_ones() -> None:
    lengths = [20] * 95 + [100] * 5
    profiles = plan_profiles(lengths, max_tokens=512, batch_tokens=8192, padded=True)
    assert [p.longest for p in profiles] == [64, 128, 512]
    assert profiles[0].usual == (128, 20, 128 * 20)
    assert profiles[1].usual == (64, 100, 64 * 100)


def test_without_padding_the_longest_sentence_decides_nothing() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(10, 60, 1000).tolist()
    few, many = plan_profiles(lengths, max_tokens=512, batch_tokens=8192, padded=False)
    assert (few.longest, many.longest) == (512, 512)
    assert (few.tokens, many.tokens) == (1024, 8192)
    sentences, _, tokens = many.usual
    # As many sentences of the mean length, in whole tokens, as fit.
    mean = math.ceil(np.mean(lengths))
    assert (sentences, tokens) == (8192 // mean, 8192 // mean * mean)
    assert choose_profile([few, many], batch_of([30] * 4)) == 0
    assert choose_profile([few, many], batch_of([30] * 100)) == 1
