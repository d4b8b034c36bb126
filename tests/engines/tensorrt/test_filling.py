"""A filled batch says the same about its sentences, and nothing about what was added."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.filling import bucket_of, fill
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.packing import Encoding, PackedBatch, pack

PROFILE = LengthProfile(sentences=48, longest=130, tokens=2000)


def batch_of(lengths: list[int]) -> PackedBatch:
    items = [Encoding(np.arange(n, dtype=np.int32) + 7, np.zeros(n, np.int32)) for n in lengths]
    return pack(items, first_position=2)


@given(st.lists(st.integers(1, 130), min_size=1, max_size=15), st.booleans())
def test_a_filled_batch_holds_the_same_sentences(lengths: list[int], padded: bool) -> None:
    batch = batch_of(lengths)
    sizes = bucket_of(batch, PROFILE, padded=padded)
    assert sizes.sentences >= batch.sentences
    assert sizes.longest >= batch.longest
    assert batch.tokens <= sizes.tokens <= PROFILE.tokens
    arrays = tensorrt_arrays(batch) | {"cu_seqlens": batch.cu_seqlens}
    filled = fill(arrays, batch, sizes)
    for name, values in filled.items():
        assert values.dtype == arrays[name].dtype
    hidden = np.random.default_rng(0).normal(size=(sizes.tokens, 3))
    slots = hidden[filled["pad_index"][..., 0]]
    assert slots.shape == (sizes.sentences, sizes.longest, 3)
    for number, length in enumerate(lengths):
        start = batch.cu_seqlens[number]
        assert (slots[number, :length] == hidden[start : start + length]).all()
        bias = filled["attention_bias"][number, 0, 0]
        assert (bias[:length] == 0).all()
        assert (bias[length:] < -9000).all()
    assert (filled["attention_bias"][len(lengths) :] < -9000).all()
    back = slots.reshape(-1, 3)[filled["unpad_index"][:, 0]]
    assert (back[: batch.tokens] == hidden[: batch.tokens]).all()
    begins = filled["cu_seqlens"]
    assert (begins[: batch.sentences + 1] == batch.cu_seqlens).all()
    assert (begins[batch.sentences :] == batch.tokens).all()
    assert filled["unpad_index"].max() < sizes.sentences * sizes.longest


@pytest.mark.parametrize("padded", [False, True])
def test_few_buckets_serve_many_batches(padded: bool) -> None:
    generator = np.random.default_rng(1)
    batches = [batch_of(generator.integers(20, 120, 16).tolist()) for _ in range(200)]
    shapes = {(b.sentences, b.longest, b.tokens) for b in batches}
    buckets = {bucket_of(b, PROFILE, padded=padded) for b in batches}
    assert len(buckets) * 10 < len(shapes)
