"""The norm in front of a part, gates and rotary positions, against plain PyTorch.

The largest error is at most twice PyTorch's in the same dtype; quantized results are equal but next
to a half step.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, largest_error, quantized_bound


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(42)


def assert_quantized(out: torch.Tensor, exact: torch.Tensor, steps: torch.Tensor) -> None:
    """``out`` is ``exact / steps`` rounded and saturated, but for values near a half step."""
    expected = (exact.double() / steps).round().clamp(-128, 127)
    assert out.dtype == torch.int8
    assert ((out.double() - expected).abs() <= quantized_bound(exact / steps, 1.0)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_pre_norm(
    rms: bool, alone: bool, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> None:
    x, residual = (3 + torch.randn(2, 5, 100, generator=generator)).to(device, dtype)
    weight, bias = torch.randn(2, 100, generator=generator).to(device, dtype)
    given = (x, None if alone else residual, weight, None if rms else bias, 1e-5)
    total, exact = kernels.pre_norm_reference(*given, rms=rms)
    peer = x if alone else x + residual
    norm = functional.rms_norm if rms else functional.layer_norm
    normed = norm(peer, (100,), weight, *(() if rms else (bias,)), 1e-5)
    stream, read = kernels.pre_norm(*given, rms=rms)
    assert torch.equal(stream, total.to(dtype))
    assert read.dtype == dtype
    assert largest_error(read, exact) <= 2 * largest_error(normed, exact) + EPS
    steps = (0.01 + 0.05 * torch.rand(100, generator=generator)).to(device)
    stream, read = kernels.pre_norm(*given, rms=rms, out_scale=kernels.channel_scales(steps))
    assert torch.equal(stream, total.to(dtype))
    assert_quantized(read, exact, steps)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_gated(activation: str, device: torch.device, generator: torch.Generator) -> None:
    x = torch.randn(3, 2 * 1100, generator=generator).mul(2).to(device).half()
    exact = kernels.gated_reference(x, activation)
    first, second = x.chunk(2, dim=1)
    peer = getattr(functional, activation)(first) * second
    out = kernels.gated(x, activation)
    assert out.dtype == x.dtype
    assert largest_error(out, exact) <= 2 * largest_error(peer, exact) + EPS
    steps = (0.01 + 0.05 * torch.rand(1100, generator=generator)).to(device)
    assert_quantized(
        kernels.gated(x, activation, out_scale=kernels.channel_scales(steps)), exact, steps
    )
    with pytest.raises(kernels.KernelInputError, match="there are gelu, silu"):
        kernels.gated(x, "relu")


def test_rotate(device: torch.device, generator: torch.Generator) -> None:
    """By the definition: a pair of values is a complex number, times that of its angle."""
    x = torch.randn(7, 5, 32, generator=generator).to(device)
    positions = torch.tensor([0, 1, 2, 0, 9, 3, 1], dtype=torch.int32, device=device)
    angles = (torch.arange(10)[:, None] * 100.0 ** -(torch.arange(16) / 16)).to(device)
    pairs = (
        torch.complex(*x[:, :3].chunk(2, dim=-1))
        * torch.polar(torch.ones_like(angles), angles)[positions.long(), None]
    )
    expected = torch.cat([torch.cat([pairs.real, pairs.imag], -1), x[:, 3:]], 1)
    out = x.clone()
    assert kernels.rotate(out, positions, angles.cos(), angles.sin(), 3) is out
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    half = kernels.rotate(x.half(), positions, angles.cos(), angles.sin(), 3)
    assert torch.equal(half[:, 3:], x[:, 3:].half())
    exact = kernels.rotate_reference(x.half(), positions, angles.cos(), angles.sin(), 3)
    assert torch.equal(half, exact.half()) or largest_error(half, exact) <= 2**-9
    with pytest.raises(kernels.KernelInputError, match="6 heads of"):
        kernels.rotate(x, positions, angles.cos(), angles.sin(), 6)
