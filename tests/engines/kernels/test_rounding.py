"""What the kernels round and approximate, held to its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from xopt.engines.kernels.gelu import gelu
from xopt.engines.kernels.rounding import (
    channel_scales,
    quantize,
    quantize_by_fours,
    quantize_reference,
    reciprocal,
)
from xopt.engines.kernels.spec import OPTIONS

BLOCK = 65536


@triton.jit
def _quantize(x, scale, out, BLOCK: tl.constexpr, FINITE: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(scale + place)
    tl.store(out + place, quantize(tl.load(x + place), step, reciprocal(step), FINITE))


@triton.jit
def _by_fours(x, scale, out, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step = tl.load(scale + place)
    tl.store(out + place, quantize_by_fours(tl.load(x + place), step, reciprocal(step)))


@triton.jit
def _reciprocal(x, out, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, reciprocal(tl.load(x + place)))


@triton.jit
def _gelu(x, out, BLOCK: tl.constexpr, FINITE: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + place, gelu(tl.load(x + place), FINITE))


def run(
    kernel: triton.JITFunction[[object]], device: torch.device, *inputs: np.ndarray, **variant: bool
) -> torch.Tensor:
    """The kernel's first argument is an array, its last the answer; padded to whole blocks."""
    size = len(inputs[0])
    padded = [np.pad(values, (0, -size % BLOCK), constant_values=1) for values in inputs]
    tensors = [torch.from_numpy(values.astype(np.float32)).to(device) for values in padded]
    narrow = len(inputs) == 2
    out = torch.empty_like(tensors[0], dtype=torch.int8 if narrow else torch.float32)
    kernel[(len(out) // BLOCK,)](*tensors, out, BLOCK=BLOCK, num_warps=8, **variant, **OPTIONS)
    return out[:size].cpu()


def doubtful_quotients() -> tuple[np.ndarray, np.ndarray]:
    """Every x and scale, but for powers of two, whose quotient may be rounded over an edge.

    The edges between two integers' quotients lie half an ulp from n + 1/2: H · 2^k ± 1 with 25
    bits, H odd and below 2^8, so k >= 17. With x = X · 2^a and scale = S · 2^b, three operations
    err by less than 2^-20 ulp, so the quotient is in doubt only if |X · 2^a - (H · 2^k ± 1) · S|
    is less than 20 for some a >= 23: only if S is within 20 of a multiple of 2^17.
    """
    near = (np.arange(64, 129)[:, None] * 2**17 + np.arange(-20, 21)).ravel()
    scale = (near[(near >= 2**23) & (near < 2**24)] * 2.0**-23).astype(np.float32)
    half = np.arange(0.5, 128, dtype=np.float32)
    below, above = np.nextafter(half, np.float32(0)), np.nextafter(half, np.float32(200))
    edges = np.concatenate([(half.astype(np.float64) + other) / 2 for other in (below, above)])
    x = (edges[:, None] * scale).astype(np.float32)
    found = np.stack([np.nextafter(x, np.float32(0)), x, np.nextafter(x, np.float32(500))])
    return found.ravel(), np.broadcast_to(scale, found.shape).ravel()


def test_quantize_is_the_rounded_quotient_wherever_that_is_in_doubt(device: torch.device) -> None:
    x, scale = doubtful_quotients()
    product = np.rint(x * (np.float32(1) / scale))
    assert (product != np.rint(x / scale)).any(), "a plain product would pass"
    for sign in (1, -1):
        out = run(_quantize, device, sign * x, scale, FINITE=True)
        expected = quantize_reference(torch.from_numpy(sign * x), torch.from_numpy(scale.copy()))
        assert torch.equal(out, expected)


def test_the_reciprocal_is_the_nearest_wherever_a_quotient_is_in_doubt(
    device: torch.device,
) -> None:
    scale = np.unique(doubtful_quotients()[1])
    assert np.float32(2 - 2.0**-23) in scale
    expected = torch.from_numpy(np.float32(1) / scale)
    assert torch.equal(run(_reciprocal, device, scale), expected)


@pytest.mark.parametrize("exponent", [-100, -20, 0, 60])
def test_quantize_is_the_rounded_quotient_of_random_values(
    exponent: int, device: torch.device
) -> None:
    random = np.random.default_rng(5)
    scale = np.ldexp(1 + random.random(2 * BLOCK), exponent).astype(np.float32)
    x = (scale * random.uniform(-140, 140, len(scale))).astype(np.float32)
    x[:BLOCK] = scale[:BLOCK] * (random.integers(-130, 130, BLOCK) + 0.5)
    x[0], x[1] = 0.0, -scale[1] * 1e5
    expected = quantize_reference(torch.from_numpy(x), torch.from_numpy(scale))
    assert torch.equal(run(_quantize, device, x, scale, FINITE=True), expected)
    # The device's own conversions, where one runs it.
    assert torch.equal(run(_by_fours, device, x, scale), expected)
    x[2], x[3] = np.inf, -np.inf
    expected[2], expected[3] = 127, -128
    assert torch.equal(run(_quantize, device, x, scale, FINITE=False), expected)


def test_gelu_errs_by_a_fraction_of_any_step(device: torch.device) -> None:
    x = np.concatenate([np.linspace(-40, 40, 6 * BLOCK), [0.0, -0.0, 1e-30, 6e4, -6e4]])
    x = x.astype(np.float32)
    exact = np.array([float(v) * math.erfc(-float(v) / math.sqrt(2)) / 2 for v in x])
    error = np.abs(run(_gelu, device, x, FINITE=False).numpy() - exact)
    # fp32 itself rounds the answer by 2^-24 of it.
    assert (error - np.abs(exact) * 2.0**-24).max() < 5e-7
    # What fp16 and bf16 keep of it, wherever the answer is normal in fp16.
    seen = (x > -3) & (x != 0)
    assert (error[seen] / np.abs(exact[seen])).max() < 2.0**-13


def test_the_reciprocals_of_channels_are_the_nearest() -> None:
    scale = torch.from_numpy(np.unique(doubtful_quotients()[1]))
    made = channel_scales(scale)
    assert torch.equal(made[0], scale)
    assert torch.equal(made[1], (1 / scale.double()).float())
