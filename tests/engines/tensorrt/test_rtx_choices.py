"""What is chosen for a GPU and a length, and options that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xopt.compile.build import BuildOptions
from xopt.compile.tensorrt_inputs import INPUTS
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.listing import (
    Kernel,
    Listing,
)
from xopt.engines.tensorrt.options import RtxOptions, TensorRtOptions
from xopt.engines.tensorrt.profiles import choose_profile, plan_profiles
from xopt.errors import BuildError, InputError
from xopt.packing import Encoding, pack


def test_a_kernel_without_its_factor_is_not_trusted() -> None:
    kernel = Kernel("gemm", 0, "gemm", ("Int8",), ("Int8",), ("Half",), ("layers.0.qkv.matmul",))
    with pytest.raises(BuildError, match="no factor"):
        Listing.read([kernel], {})
    with pytest.raises(BuildError, match="no list of layers"):
        Listing.read([], {})


def test_lengths_above_254_and_turing_take_fp16_attention() -> None:
    fp16 = {"attention": False}
    assert (RtxOptions().changes("int8", 254), RtxOptions().changes("int8", 255)) == ({}, fp16)
    assert RtxOptions(sm="75").changes("int8", 128) == fp16
    assert (TensorRtOptions().changes("int8", 254), TensorRtOptions().changes("int8", 255)) == (
        {},
        fp16,
    )
    plugin = TensorRtOptions(attention="plugin")
    form = {"form": "tensorrt-plugin"}
    assert (plugin.changes("int8", 254), plugin.changes("int8", 255)) == (form, form | fp16)


@pytest.mark.parametrize(
    ("sm", "message"),
    [("90", "builds for no SM 90"), ("75,86", "built by itself"), ("a", "as numbers")],
)
def test_gpus_that_cannot_be_built_for(sm: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildOptions(target="tensorrt-rtx", sm=sm)


def test_a_gpu_of_another_target_is_told_which() -> None:
    with pytest.raises(InputError) as caught:
        BuildOptions(target="tensorrt-rtx", sm="90")
    assert "--target cuda, or on the GPU itself with --target tensorrt" in caught.value.hint


def test_the_hint_spells_a_target_as_the_option_takes_it() -> None:
    with pytest.raises(InputError, match="takes no --cpu") as caught:
        BuildOptions(target="cuda", cpu="any")
    assert caught.value.hint == "Leave it out; it is for --target cpu."


def test_options_of_tensorrt_are_refused_elsewhere() -> None:
    with pytest.raises(InputError, match="takes no --sm") as caught:
        BuildOptions(target="cpu", sm="89")
    assert "--target tensorrt-rtx" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "options", "named"),
    [
        ("tensorrt-rtx", {"attention": "plugin"}, "--attention"),
        ("tensorrt-rtx", {"refit": True}, "--refit"),
        ("tensorrt", {"sm": "89"}, "--sm"),
        ("tensorrt", {"allow_unfused": True}, "--allow-unfused"),
    ],
)
def test_an_option_of_another_tensorrt_is_refused(
    target: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=f"target {target} takes no {named}"):
        BuildOptions(target=target, **options)


def test_a_profile_takes_no_more_tokens_than_its_sentences_have() -> None:
    for profile in plan_profiles((), max_tokens=512, batch_tokens=65_536, padded=True):
        assert profile.tokens == profile.sentences * profile.longest <= 65_536


@pytest.mark.parametrize("longest", [1, 64, 100, 128, 512, 700])
def test_profiles_hold_every_batch_up_to_the_budget(longest: int) -> None:
    profiles = plan_profiles((), max_tokens=longest, batch_tokens=8192, padded=True)
    assert profiles[-1].longest == longest
    assert [p.longest for p in profiles] == sorted({p.longest for p in profiles})
    generator = np.random.default_rng(longest)
    # Without the plugin no graph reads cu_seqlens.
    read = {name: shape for name, (_, shape) in INPUTS.items() if name != "cu_seqlens"}
    for profile in profiles:
        assert profile.sentences * profile.longest <= max(8192, longest)
        shorter = generator.integers(1, profile.longest + 1, profile.sentences)
        for lengths in ([profile.longest] * profile.sentences, shorter, shorter[:1]):
            zeros = [np.zeros(n, np.int32) for n in lengths]
            batch = pack([Encoding(z, z) for z in zeros], first_position=2)
            number = choose_profile(profiles, batch)
            assert number is not None
            assert profiles[number].longest <= profile.longest
            arrays = tensorrt_arrays(batch, window=8)
            ranges = profiles[number].shapes(read)
            for name, (low, usual, high) in ranges.items():
                assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))
                shape = arrays[name].shape
                assert all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)), name
