"""Rotary positions (Su et al., 2021) of packed heads, in place.

The halves of a head are the two parts of each pair, as in transformers.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.checks import (
    KernelInputError,
    require_device,
    require_dtype,
    require_shape,
)
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.rounding import narrow

__all__ = ["rotate", "rotate_reference"]

NUM_WARPS = 4


@triton.jit
def _rotate_kernel(
    x, position_ids, cosine, sine,
    ROWS: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    token = tl.program_id(0)
    head = tl.arange(0, BLOCK)[:, None]
    pair = tl.arange(0, HALF)[None, :]
    exists = head < HEADS
    angle = tl.load(position_ids + token).to(tl.int64) * HALF + pair
    c, s = tl.load(cosine + angle), tl.load(sine + angle)
    place = x + token.to(tl.int64) * (ROWS * 2 * HALF) + head * (2 * HALF) + pair
    first = tl.load(place, mask=exists, other=0.0).to(tl.float32)
    second = tl.load(place + HALF, mask=exists, other=0.0).to(tl.float32)
    kind = x.dtype.element_ty
    tl.store(place, narrow(first * c - second * s, kind), mask=exists)
    tl.store(place + HALF, narrow(second * c + first * s, kind), mask=exists)


def rotate(
    x: torch.Tensor,
    position_ids: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """Turn the first ``heads`` of each token's heads by its position, in ``x`` itself.

    Args:
        x: ``[T, rows, head_dim]`` fp16, bf16 or fp32, contiguous; ``head_dim`` is a power of 2.
        position_ids: ``[T]`` int32 rows of the tables. That they exist is not checked: reading the
            values would wait for the device.
        cosine: ``[positions, head_dim / 2]`` fp32, contiguous.
        sine: as ``cosine``.
        heads: of ``rows``.

    Returns:
        ``x``.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    require_shape("x", x, ("T", "rows", "head_dim"))
    require_dtype("x", x, FLOATS)
    tokens, rows, width = x.shape
    if not 1 <= heads <= rows or width < 2 or width & (width - 1):
        raise KernelInputError(f"{heads} heads of {list(x.shape)} cannot be rotated.")
    require_shape("position_ids", position_ids, (tokens,))
    require_dtype("position_ids", position_ids, [torch.int32])
    for name, table in (("cosine", cosine), ("sine", sine)):
        require_shape(name, table, ("positions", width // 2))
        require_dtype(name, table, [torch.float32])
    require_device(x, position_ids, cosine, sine)
    if tokens:
        _rotate_kernel[(tokens,)](
            x, position_ids, cosine, sine, ROWS=rows, HEADS=heads, HALF=width // 2,
            BLOCK=triton.next_power_of_2(heads), num_warps=NUM_WARPS, **launch_options(x.device),
        )  # fmt: skip
    return x


def rotate_reference(
    x: torch.Tensor,
    position_ids: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """What :func:`rotate` makes of ``x``, in fp32 and a tensor of its own."""
    index = position_ids.long()
    c, s = cosine[index][:, None], sine[index][:, None]
    first, second = x[:, :heads].float().chunk(2, dim=-1)
    turned = torch.cat([first * c - second * s, second * c + first * s], dim=-1)
    return torch.cat([turned, x[:, heads:].float()], dim=1)
