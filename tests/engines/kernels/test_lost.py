"""int8 has no NaN: what was one, or infinite, is told where a reader of floating point sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from xopt.engines import kernels

CuSeqlens = Callable[[list[int]], torch.Tensor]

# What numpy says of the interpreter's arithmetic.
pytestmark = pytest.mark.filterwarnings(
    "ignore:(overflow|invalid value|All-NaN slice) encountered:RuntimeWarning"
)


def lost_rows(stream: torch.Tensor) -> list[int]:
    """The rows that begin with NaN; all else of the stream is as it was."""
    assert torch.equal(stream.nan_to_num(nan=1.0), torch.ones_like(stream))
    assert not stream[:, 1:].isnan().any()
    return torch.nonzero(stream[:, 0].isnan()).flatten().tolist()


@pytest.mark.parametrize("rows", [64, 128])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_context_that_is_no_number_is_told(
    part: int, value: float, rows: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(80, 3, 2, 32, generator=generator).half()
    # The second text's: of its token 3 the query alone, keys and values of its head for all.
    qkv[5 + 3, part, 1, 7] = value
    starts, stream = cu_seqlens([5, 70]), torch.ones(80, 48, dtype=torch.float16, device=device)
    out = kernels.varlen_attention(
        qkv.to(device), starts, 70, out_scale=0.02, rows=rows, stream=stream
    )
    lost = lost_rows(stream.cpu())
    exact = kernels.varlen_attention_reference(qkv.float(), starts.cpu(), 70)
    wrong = torch.nonzero(~torch.isfinite(exact[:75]).flatten(1).all(1)).flatten().tolist()
    assert lost == wrong
    assert wrong == [8] if part == 0 else wrong
    assert set(lost) <= set(range(5, 75))
    given = kernels.varlen_attention(qkv.to(device), starts, 70, out_scale=0.02, rows=rows)
    assert torch.equal(out, given)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_a_gate_that_is_no_number_is_told(activation: str, device: torch.device) -> None:
    x = torch.ones(7, 2 * 1500, dtype=torch.float16)
    x[1, 1400], x[2, 3], x[3, 1500 + 1100], x[4, 1500] = -torch.inf, torch.nan, torch.inf, -65504
    stream = torch.ones(7, 40, dtype=torch.float16, device=device)
    kernels.gated(x.to(device), activation, out_scale=0.1, stream=stream)
    assert lost_rows(stream.cpu()) == [1, 2, 3]


def test_a_stream_of_another_shape_is_refused(device: torch.device) -> None:
    x, stream = torch.ones(7, 6, device=device), torch.ones(6, 3, device=device)
    with pytest.raises(kernels.KernelInputError, match=r"stream has shape \[6, 3\]"):
        kernels.gated(x, "silu", out_scale=0.1, stream=stream)


@pytest.mark.parametrize("hidden", [1, 100, 1030])
def test_the_first_row_tells_of_all(
    hidden: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = [1, 300, 0, 129, 2, 0]
    x = torch.randn(sum(lengths), hidden, generator=generator).half().to(device)
    starts = cu_seqlens(lengths)
    x[-1, -1] = torch.inf
    out = kernels.first_pool(x, starts)
    assert torch.equal(out, kernels.first_pool_reference(x, starts))
    assert torch.equal(out[[0, 1, 3, 4]], x[starts[[0, 1, 3, 4]].long()].float())
    x[1 + 299, 0] = torch.nan
    out = kernels.first_pool(x, starts)
    assert out[1].isnan().all()
    assert torch.isfinite(out[[0, 2, 3]]).all()


@pytest.mark.parametrize("rms", [False, True])
def test_squares_beyond_fp32_are_no_zeros(rms: bool, device: torch.device) -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(3)).to(device)
    x[1] *= 1e30
    ones, zeros = torch.ones(64, device=device), torch.zeros(64, device=device)
    _, out = kernels.pre_norm(x, None, ones, zeros, 1e-5, rms=rms)
    assert out[1].isnan().all()
    assert torch.isfinite(out[[0, 2]]).all()


def test_sums_beyond_int32_are_refused(device: torch.device) -> None:
    x = torch.full((1, 1 << 17), -128, dtype=torch.int8, device=device)
    one, zero = torch.ones(1, device=device), torch.zeros(1, device=device)
    with pytest.raises(kernels.KernelInputError, match="131,072 products of int8 do not fit"):
        kernels.linear_int8(x, x, one, zero, x_scale=1.0)
    short = x[:, 1:].contiguous()
    out = kernels.linear_int8(short, short, one, zero, x_scale=1.0, out_dtype=torch.float32)
    assert out.item() == float(((1 << 17) - 1) << 14)
