"""``varlen_attention_int8`` against its integer reference.

The reference is exact but for the softmax. Where a probability lies next to a half step, fp32
rounding may decide its quantized value either way; then, and only then, the sum may differ, by at
most that key's value. Everywhere else the answer is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from xopt.engines import kernels
from xopt.engines.kernels.criteria import context_bound, quantized_bound
from xopt.engines.kernels.rounding import quantize_reference

CuSeqlens = Callable[[list[int]], torch.Tensor]
RAGGED = [1, 33, 63, 64, 65, 257]
PROBS_SCALE = 1 / 127


def make_inputs(
    tokens: int, heads: int, head_dim: int, per_head: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``qkv`` and its scales, such that some probabilities are large and most are not."""
    generator = torch.Generator().manual_seed(42)
    normal = torch.randn(tokens, 3, heads, head_dim, generator=generator)
    qkv = (normal * 40).round().clamp(-128, 127).to(device, torch.int8)
    scale = 0.03 + 0.02 * torch.rand(3, heads if per_head else 1, generator=generator)
    return qkv, (scale if per_head else scale[:, 0]).to(device).contiguous()


def undecided(qkv: torch.Tensor, cu_seqlens: torch.Tensor, qkv_scale: torch.Tensor) -> torch.Tensor:
    """The bound, which is 0 for most elements: else the comparison would say little."""
    bound = context_bound(qkv, cu_seqlens, qkv_scale)
    assert (bound == 0).double().mean() > 0.5
    return bound


@pytest.mark.parametrize("rows", [64, 128])
@pytest.mark.parametrize("lengths", [[n] for n in RAGGED] + [RAGGED, [5, 0, 70]], ids=str)
def test_matches_the_integer_reference(
    lengths: list[int], rows: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv, scale = make_inputs(sum(lengths) + 9, 2, 64, True, device)
    arguments = (qkv, cu_seqlens(lengths), max(lengths))
    out = kernels.varlen_attention_int8(
        *arguments, qkv_scale=scale, out_dtype=torch.float32, rows=rows
    )
    reference = kernels.varlen_attention_int8_reference(
        *arguments, qkv_scale=scale, out_dtype=torch.float32
    )
    bound = undecided(qkv, cu_seqlens(lengths), scale)
    assert reference.any()
    # Two fp32 values a whole step apart differ in the last bit from the product of that step.
    assert ((out - reference).abs() <= bound * (1 + 1e-5)).all()
    assert not out[sum(lengths) :].any()


@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_int8_output(
    head_dim: int, per_head: bool, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv, scale = make_inputs(sum(RAGGED), 2, head_dim, per_head, device)
    arguments = (qkv, cu_seqlens(RAGGED), max(RAGGED))
    out = kernels.varlen_attention_int8(*arguments, qkv_scale=scale, out_scale=0.02)
    reference = kernels.varlen_attention_int8_reference(*arguments, qkv_scale=scale, out_scale=0.02)
    steps = (undecided(qkv, cu_seqlens(RAGGED), scale) / 0.02).ceil()
    assert out.dtype == torch.int8
    # Equal, wherever no probability is near a half step.
    assert ((out.int() - reference.int()).abs() <= steps).all()
    assert (reference == 127).any(), "the case saturates"


@pytest.mark.parametrize("attention", ["float", "int8"])
def test_one_output_scale_per_channel(
    attention: str, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv, scale = make_inputs(50, 2, 32, False, device)
    cu = cu_seqlens([20, 30])
    steps = torch.linspace(0.01, 0.05, 64).to(device)
    given = kernels.channel_scales(steps)
    if attention == "int8":
        options = {"qkv_scale": scale, "out_dtype": torch.float32}
        exact = kernels.varlen_attention_int8(qkv, cu, 30, **options)
        out = kernels.varlen_attention_int8(qkv, cu, 30, qkv_scale=scale, out_scale=given)
    else:
        full = qkv * scale[:, None, None]
        exact = kernels.varlen_attention(full, cu, 30)
        out = kernels.varlen_attention(full, cu, 30, out_scale=given)
        reference = kernels.varlen_attention_reference(full, cu, 30)
        near = quantized_bound(reference / steps.view(2, 32), 1.0)
        wanted = quantize_reference(reference, steps.view(2, 32))
        assert ((out.int() - wanted.int()).abs() <= near).all()
    assert torch.equal(out, quantize_reference(exact, steps.view(2, 32)))


@pytest.mark.parametrize("out_dtype", [torch.float16, torch.bfloat16], ids=str)
def test_output_dtype(out_dtype: torch.dtype, device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv, scale = make_inputs(20, 1, 32, False, device)
    exact = kernels.varlen_attention_int8(
        qkv, cu_seqlens([20]), 20, qkv_scale=scale, out_dtype=torch.float32
    )
    out = kernels.varlen_attention_int8(
        qkv, cu_seqlens([20]), 20, qkv_scale=scale, out_dtype=out_dtype
    )
    assert torch.equal(out, exact.to(out_dtype))


def test_close_to_attention_in_fp32(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv, scale = make_inputs(130, 2, 64, False, device)
    cu = cu_seqlens([60, 70])
    out = kernels.varlen_attention_int8(qkv, cu, 70, qkv_scale=scale, out_dtype=torch.float32)
    exact = kernels.varlen_attention_reference(qkv * scale[:, None, None], cu, 70)
    # Each probability is off by at most half a step.
    values = (qkv[:, 2] * scale[2]).abs()
    bound = torch.cat(
        [part.sum(0, keepdim=True).expand_as(part) for part in values.split([60, 70])]
    )
    assert ((out - exact).abs() <= bound * (PROBS_SCALE / 2) + 1e-4).all()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_does_not_depend_on_batch_mates(
    data: st.DataObject, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 140), min_size=1, max_size=5))
    chosen = data.draw(st.integers(0, len(lengths) - 1))
    qkv, scale = make_inputs(sum(lengths), 1, 32, False, device)
    start, end = sum(lengths[:chosen]), sum(lengths[: chosen + 1])
    together = kernels.varlen_attention_int8(
        qkv, cu_seqlens(lengths), max(lengths), qkv_scale=scale
    )[start:end]
    alone = kernels.varlen_attention_int8(
        qkv[start:end], cu_seqlens([end - start]), end - start, qkv_scale=scale
    )
    assert torch.equal(together, alone)


def test_inputs_are_checked(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv, scale = make_inputs(8, 2, 64, True, device)
    cu = cu_seqlens([8])
    with pytest.raises(kernels.KernelInputError, match=r"qkv is torch\.float16"):
        kernels.varlen_attention_int8(qkv.half(), cu, 8, qkv_scale=scale)
    with pytest.raises(kernels.KernelInputError, match=r"expected \[3, 2\]"):
        kernels.varlen_attention_int8(qkv, cu, 8, qkv_scale=scale[:, :1])
    with pytest.raises(kernels.KernelInputError, match="probs_scale must be above 0"):
        kernels.varlen_attention_int8(qkv, cu, 8, qkv_scale=scale, probs_scale=0.0)


def test_the_largest_sums_are_exact(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    length = 1000
    qkv = torch.zeros(length, 3, 1, 32, dtype=torch.int8, device=device)
    qkv[:, 2] = -128
    qkv[0, 2] = 127
    # Every probability is 1/1000: a hundred steps.
    out = kernels.varlen_attention_int8(
        qkv, cu_seqlens([length]), length, qkv_scale=torch.ones(3, device=device),
        probs_scale=1e-5, out_dtype=torch.float32,
    )  # fmt: skip
    total = 100 * (127 - 128 * (length - 1))
    assert abs(total) > 2**23
    assert torch.equal(out, torch.full_like(out, float(np.float32(total) * np.float32(1e-5))))
