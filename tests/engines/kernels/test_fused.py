"""The fused steps between matrix products, and the INT8 matrix product, against plain PyTorch.

Floating-point results: the largest error is at most twice PyTorch's in the same dtype. Quantized
results: equal wherever the reference is not next to a half step, else off by at most 1.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, largest_error, quantized_bound
from xopt.engines.kernels.linear import launch_linear_int8
from xopt.engines.kernels.linear_float import launch_linear_gelu
from xopt.engines.kernels.linear_tiles import Gpu, linear_gelu_candidates, linear_int8_candidates

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(42)


def assert_close(out: torch.Tensor, reference: torch.Tensor, peer: torch.Tensor) -> None:
    """``out`` errs at most twice as much as ``peer``, which PyTorch computed in its dtype."""
    assert out.dtype == peer.dtype
    assert largest_error(out, reference) <= 2 * largest_error(peer, reference) + EPS


def assert_quantized(out: torch.Tensor, exact: torch.Tensor, scale: float) -> None:
    """``out`` is ``exact / scale`` rounded and saturated, but for values near a half step."""
    bound = quantized_bound(exact, scale)
    difference = (out.double() - (exact.double() / scale).round().clamp(-128, 127)).abs()
    assert out.dtype == torch.int8
    assert bound.mean() < 0.5, "most are decided: else the comparison would say little"
    assert (difference <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("tokens", "hidden"), [(1, 768), (33, 1024), (5, 100)])
def test_add_layer_norm(
    tokens: int,
    hidden: int,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
) -> None:
    x, residual = torch.randn(2, tokens, hidden, generator=generator).to(device, dtype)
    weight, bias = torch.randn(2, hidden, generator=generator).to(device, dtype)
    arguments = (x, residual, weight, bias, 1e-5)
    reference = kernels.add_layer_norm_reference(*arguments)
    peer = functional.layer_norm(x + residual, [hidden], weight, bias, 1e-5)
    assert_close(kernels.add_layer_norm(*arguments), reference, peer)
    out, out_int8 = kernels.add_layer_norm_int8(*arguments, 0.03)
    assert_close(out, reference, peer)
    assert_quantized(out_int8, reference, 0.03)
    _, reference_int8 = kernels.add_layer_norm_int8_reference(*arguments, 0.03)
    assert_quantized(reference_int8, reference, 0.03)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("tokens", "width"), [(1, 3072), (7, 4096), (5, 100)])
def test_bias_gelu(
    tokens: int, width: int, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> None:
    x = torch.randn(tokens, width, generator=generator).mul(2).to(device, dtype)
    bias = torch.randn(width, generator=generator).to(device, dtype)
    reference = kernels.bias_gelu_reference(x, bias)
    assert_close(kernels.bias_gelu(x, bias), reference, functional.gelu(x + bias))
    assert_quantized(kernels.bias_gelu(x, bias, out_scale=0.04), reference, 0.04)
    assert_quantized(kernels.bias_gelu_reference(x, bias, out_scale=0.04), reference, 0.04)


# What numpy says of the interpreter's arithmetic.
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gelu_of_infinity_is_infinity(dtype: torch.dtype, device: torch.device) -> None:
    """An activation that left its type stays infinite, and -inf and NaN are NaN, as by definition.

    PyTorch's own GELU gives NaN for +inf where it uses vectors, and infinity where it does not.
    """
    most = torch.finfo(dtype).max
    x = torch.tensor([[torch.inf, most, -most, 3.0, -torch.inf, torch.nan]], dtype=dtype)
    by_definition = x.double() * torch.special.ndtr(x.double())
    zero = torch.zeros(6, dtype=dtype)
    out = kernels.bias_gelu(x.to(device), zero.to(device)).cpu()
    torch.testing.assert_close(out, by_definition.to(dtype), equal_nan=True)
    quantized = kernels.bias_gelu(x.to(device), zero.to(device), out_scale=1.0).cpu()
    assert quantized[0, :4].tolist() == [127, 127, 0, 3]
    # The same as a product: rows of x that begin with these, and a weight of one.
    row, weight = torch.zeros(6, 32, dtype=dtype), torch.zeros(8, 32, dtype=dtype)
    row[:, 0], weight[:, 0] = x[0], 1.0
    operands = (row.to(device), weight.to(device), torch.zeros(8, dtype=dtype).to(device))
    for tile in filter(None, linear_gelu_candidates(6, dtype, 8, 32, Gpu())):
        out = launch_linear_gelu(*operands, tile)[:, 0].cpu()
        torch.testing.assert_close(out, by_definition[0].to(dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("tokens", "width", "hidden"), [(1, 96, 64), (129, 200, 100)])
def test_linear_gelu(
    tokens: int,
    width: int,
    hidden: int,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
) -> None:
    x = torch.randn(tokens, hidden, generator=generator).to(device, dtype)
    weight = (torch.randn(width, hidden, generator=generator) / 8).to(device, dtype)
    bias = torch.randn(width, generator=generator).to(device)
    reference = kernels.linear_gelu_reference(x, weight, bias)
    peer = functional.gelu(functional.linear(x, weight, bias.to(dtype)))
    assert_close(kernels.linear_gelu(x, weight, bias), reference, peer)
    for tile in linear_gelu_candidates(tokens, dtype, width, hidden, Gpu()):
        assert_close(launch_linear_gelu(x, weight, bias, tile), reference, peer)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hidden", [768, 100])
def test_embed_layer_norm(
    hidden: int, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> None:
    tokens = 9
    words, positions, types = (
        torch.randn(rows, hidden, generator=generator).to(device, dtype) for rows in (50, 12, 2)
    )
    weight, bias = torch.randn(2, hidden, generator=generator).to(device, dtype)
    ids = [
        torch.randint(0, len(table), (tokens,), generator=generator).to(device, torch.int32)
        for table in (words, positions, types)
    ]
    arguments = (*ids, words, positions, types, weight, bias, 1e-5)
    reference = kernels.embed_layer_norm_reference(*arguments)
    total = words[ids[0].long()] + types[ids[2].long()] + positions[ids[1].long()]
    peer = functional.layer_norm(total, [hidden], weight, bias, 1e-5)
    assert_close(kernels.embed_layer_norm(*arguments), reference, peer)
    out, out_int8 = kernels.embed_layer_norm_int8(*arguments, 0.03)
    assert_close(out, reference, peer)
    assert_quantized(out_int8, reference, 0.03)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(
    ("tokens", "out_features", "in_features"), [(1, 96, 64), (65, 128, 768), (130, 200, 100)]
)
def test_linear_int8(
    tokens: int,
    out_features: int,
    in_features: int,
    gelu: bool,
    device: torch.device,
    generator: torch.Generator,
) -> None:
    def integers(*shape: int) -> torch.Tensor:
        return torch.randint(-128, 128, shape, generator=generator).to(device, torch.int8)

    x, weight = integers(tokens, in_features), integers(out_features, in_features)
    weight_scale = (0.5 + torch.rand(out_features, generator=generator)).to(device) / 2000
    bias = torch.randn(out_features, generator=generator).to(device)
    arguments = (x, weight, weight_scale, bias)
    out = kernels.linear_int8(*arguments, x_scale=0.02, gelu=gelu, out_dtype=torch.float32)
    reference = kernels.linear_int8_reference(*arguments, x_scale=0.02, out_dtype=torch.float32)
    if gelu:
        # PyTorch's own in fp32 is no nearer to this than ours.
        reference = functional.gelu(reference.double()).float()
    # The sums are equal; a fused multiply-add in the epilogue rounds once less.
    torch.testing.assert_close(out, reference, rtol=1e-6, atol=1e-6)
    quantized = kernels.linear_int8(*arguments, x_scale=0.02, gelu=gelu, out_scale=0.05)
    assert_quantized(quantized, reference, 0.05)
    half = kernels.linear_int8(*arguments, x_scale=0.02, gelu=gelu)
    assert torch.equal(half, out.half())


def test_one_scale_per_channel(device: torch.device, generator: torch.Generator) -> None:
    tokens, width = 20, 96
    x = torch.randn(tokens, width, generator=generator).to(device)
    ones, zeros = torch.ones(width, device=device), torch.zeros(width, device=device)
    steps = (0.01 + 0.05 * torch.rand(width, generator=generator)).to(device)
    given = kernels.channel_scales(steps)
    _, out = kernels.add_layer_norm_int8(x, x, ones, zeros, 1e-5, given)
    exact = kernels.add_layer_norm_reference(x, x, ones, zeros, 1e-5)
    assert_quantized(out, exact / steps, 1.0)
    integers = (x * 40).round().clamp(-128, 127).to(torch.int8)
    arguments = (integers, integers.repeat(5, 1)[:width].contiguous(), steps / 50, zeros)
    exact = kernels.linear_int8_reference(*arguments, x_scale=0.02, out_dtype=torch.float32)
    out = kernels.linear_int8(*arguments, x_scale=0.02, out_scale=given)
    assert_quantized(out, exact / steps, 1.0)
    with pytest.raises(kernels.KernelInputError, match=r"out_scale has shape \[2, 95\]"):
        kernels.linear_int8(*arguments, x_scale=0.02, out_scale=given[:, 1:])


@pytest.mark.parametrize("gelu", [False, True])
def test_the_librarys_product_gives_the_same_bits(
    gelu: bool, device: torch.device, generator: torch.Generator
) -> None:
    x = torch.randint(-128, 128, (40, 64), generator=generator).to(device, torch.int8)
    weight = torch.randint(-128, 128, (48, 64), generator=generator).to(device, torch.int8)
    scale, bias = torch.rand(2, 48, generator=generator).to(device) / 100
    for epilogue in ({"out_scale": 0.05}, {"out_dtype": torch.float32}):
        options = {"x_scale": 0.02, "gelu": gelu, **epilogue}
        first, *others = (
            launch_linear_int8(x, weight, scale, bias, tile, **options)
            for tile in linear_int8_candidates(40, 48, 64, Gpu())
        )
        assert others[-1].shape == (40, 48)
        assert None in linear_int8_candidates(40, 48, 64, Gpu())
        assert all(torch.equal(first, other) for other in others)


def test_embeddings_of_int8_rows(device: torch.device, generator: torch.Generator) -> None:
    words = torch.randint(-127, 128, (50, 64), generator=generator).to(device, torch.int8)
    word_scale = (torch.rand(50, generator=generator) / 50).to(device)
    positions, types = torch.randn(2, 12, 64, generator=generator).to(device)
    ids = [torch.randint(0, 12, (9,), generator=generator).to(device).int() for _ in range(3)]
    weight, bias = torch.randn(2, 64, generator=generator).to(device)
    arguments = (*ids, words, positions, types, weight, bias, 1e-5)
    reference = kernels.embed_layer_norm_reference(*arguments, word_scale=word_scale)
    out = kernels.embed_layer_norm(*arguments, word_scale=word_scale, out_dtype=torch.float16)
    assert out.dtype == torch.float16
    assert largest_error(out, reference) <= 2 * largest_error(reference.half(), reference) + EPS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mean_pool(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    cu_seqlens: Callable[[list[int]], torch.Tensor],
) -> None:
    starts = cu_seqlens([1, 33, 0, 16, 5])
    x = torch.randn(60, 200, generator=generator).to(device, dtype)
    out = kernels.mean_pool(x, starts)
    assert largest_error(out, kernels.mean_pool_reference(x, starts)) <= EPS
    assert not out[2].any()


def test_no_token(device: torch.device) -> None:
    empty = torch.zeros(0, 64, device=device)
    vector = torch.ones(64, device=device)
    assert kernels.add_layer_norm(empty, empty, vector, vector, 1e-5).shape == (0, 64)
    assert kernels.bias_gelu(empty, vector).shape == (0, 64)


def test_inputs_are_checked(device: torch.device) -> None:
    x, vector = torch.ones(2, 64, device=device), torch.ones(64, device=device)
    with pytest.raises(kernels.KernelInputError, match=r"weight has shape \[63\]; expected \[64\]"):
        kernels.add_layer_norm(x, x, vector[1:], vector, 1e-5)
    with pytest.raises(kernels.KernelInputError, match="eps must be above 0"):
        kernels.add_layer_norm(x, x, vector, vector, 0.0)
    with pytest.raises(kernels.KernelInputError, match=r"bias is torch\.int64"):
        kernels.bias_gelu(x, vector.long())
    with pytest.raises(kernels.KernelInputError, match="out_scale must be above 0"):
        kernels.bias_gelu(x, vector, out_scale=-1.0)
    with pytest.raises(kernels.KernelInputError, match="weight has shape"):
        kernels.linear_int8(x.char(), x.char()[:, 1:], vector, vector, x_scale=1.0)
