"""The mean of each sentence's rows, or the first of them, in one pass over the packed batch.

One program adds up the rows of one sentence in their order, so that the sum does not depend on the
batch, as it would with atomic additions.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.checks import require_device, require_dtype, require_shape
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS

__all__ = ["first_pool", "first_pool_reference", "mean_pool", "mean_pool_reference"]

BLOCK = 128
ROWS = 16
FIRST_BLOCK = 1024


@triton.jit
def _mean_pool_kernel(
    x, cu_seqlens, out, HIDDEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    sentence = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start = tl.load(cu_seqlens + sentence)
    length = tl.load(cu_seqlens + sentence + 1) - start
    x += start.to(tl.int64) * HIDDEN
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for first in range(0, length, ROWS):
        row = first + tl.arange(0, ROWS)
        exists = (row[:, None] < length) & (column[None, :] < HIDDEN)
        place = row[:, None] * HIDDEN + column[None, :]
        total += tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    # A sentence of no tokens fills up a bucket; its mean is 0.
    mean = tl.sum(total, 0) / tl.maximum(length, 1).to(tl.float32)
    tl.store(out + sentence.to(tl.int64) * HIDDEN + column, mean, mask=column < HIDDEN)


@triton.jit
def _first_pool_kernel(
    x, cu_seqlens, out, HIDDEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    sentence = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start = tl.load(cu_seqlens + sentence)
    length = tl.load(cu_seqlens + sentence + 1) - start
    x += start.to(tl.int64) * HIDDEN
    exists = column < HIDDEN
    first = tl.load(x + column, mask=exists & (column * 0 < length), other=0.0).to(tl.float32)
    # NaN where one of the rows begins with it, else 0.
    lost = tl.zeros([ROWS], tl.float32)
    for ahead in range(0, length, ROWS):
        row = ahead + tl.arange(0, ROWS)
        begin = tl.load(x + row * HIDDEN, mask=row < length, other=0.0).to(tl.float32)
        lost += tl.where(begin != begin, begin, 0.0)
    place = out + sentence.to(tl.int64) * HIDDEN + column
    tl.store(place, first + tl.sum(lost, 0), mask=exists)


def first_pool(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Each sentence's first row; NaN where any of its rows begins with NaN.

    In INT8 that row may have read of others what is left of a NaN, which looks like a number.

    Args:
        x: as for :func:`mean_pool`.
        cu_seqlens: as for :func:`mean_pool`.

    Returns:
        ``[B, hidden]`` fp32; zeros for a sentence without tokens.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    return _launch(_first_pool_kernel, x, cu_seqlens, rows=128, block=FIRST_BLOCK)


def first_pool_reference(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """What :func:`first_pool` computes, sentence by sentence."""
    out = x.new_zeros(cu_seqlens.shape[0] - 1, x.shape[1], dtype=torch.float32)
    for number, (start, end) in enumerate(pairwise(cu_seqlens.tolist())):
        if end > start:
            out[number] = torch.nan if x[start:end, 0].isnan().any() else x[start].float()
    return out


def mean_pool(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """The mean over each sentence's tokens.

    Args:
        x: ``[T, hidden]`` fp16, bf16 or fp32, contiguous.
        cu_seqlens: ``[B + 1]`` int32 on the same device, from 0, never falling, at most T.

    Returns:
        ``[B, hidden]`` fp32; zeros for a sentence without tokens.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    return _launch(_mean_pool_kernel, x, cu_seqlens, rows=ROWS, block=BLOCK)


def _launch(
    kernel: Any, x: torch.Tensor, cu_seqlens: torch.Tensor, rows: int, block: int
) -> torch.Tensor:
    require_shape("x", x, ("T", "hidden"))
    require_dtype("x", x, FLOATS)
    require_shape("cu_seqlens", cu_seqlens, ("B + 1",))
    require_dtype("cu_seqlens", cu_seqlens, [torch.int32])
    require_device(x, cu_seqlens)
    sentences, hidden = cu_seqlens.shape[0] - 1, x.shape[1]
    out = torch.empty((sentences, hidden), dtype=torch.float32, device=x.device)
    if sentences:
        kernel[(sentences, triton.cdiv(hidden, block))](
            x, cu_seqlens, out, HIDDEN=hidden, ROWS=rows, BLOCK=block, num_warps=4,
            **launch_options(x.device),
        )  # fmt: skip
    return out


def mean_pool_reference(x: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """What :func:`mean_pool` computes, sentence by sentence in plain fp32."""
    out = x.new_zeros(cu_seqlens.shape[0] - 1, x.shape[1], dtype=torch.float32)
    for number, (start, end) in enumerate(pairwise(cu_seqlens.tolist())):
        if end > start:
            out[number] = x[start:end].float().mean(dim=0)
    return out
