"""INT8 matrix product whose epilogue dequantizes, adds the bias, applies GELU and requantizes.

Integer sums are exact in any order, so the result does not depend on the tile, nor on whether the
product is ours or the library's (cuBLASLt behind ``torch._int_mm``, with the epilogue as a kernel
of its own). Which is fastest depends on the device and the shape, and is left to be measured.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.checks import (
    KernelInputError,
    only_tensor,
    require_device,
    require_dtype,
    require_positive,
    require_scale,
    require_shape,
)
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.linear_bulk import bulk_launch, linear_int8_bulk_kernel
from xopt.engines.kernels.linear_finish import finish_int8
from xopt.engines.kernels.linear_tiles import linear_int8_tile
from xopt.engines.kernels.parts import add_parts, bring_part, part_arguments
from xopt.engines.kernels.rounding import (
    quantize_reference,
    scale_of,
)
from xopt.engines.kernels.tiles import Tile

__all__ = [
    "launch_linear_int8",
    "linear_int8",
    "linear_int8_kernel",
    "linear_int8_reference",
]


# Each product of int8 is up to 2^14, and int32 ends at 2^31.
MOST_FEATURES = 1 << 17


@triton.jit(do_not_specialize=["tokens"])
def _epilogue_kernel(
    acc, weight_scale, bias, tokens, x_scale, out_scale, out,
    OUT_FEATURES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    GELU: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    exists = (row[:, None] < tokens) & (column[None, :] < OUT_FEATURES)
    place = row[:, None].to(tl.int64) * OUT_FEATURES + column[None, :]
    sums = tl.load(acc + place, mask=exists, other=0)
    finish_int8(
        sums, weight_scale, bias, x_scale, out_scale, out,
        tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N, tokens,
        OUT_FEATURES, BLOCK_M, BLOCK_N, GELU, QUANTIZE, PER_CHANNEL,
    )  # fmt: skip


@triton.jit(do_not_specialize=["tokens"])
def linear_int8_kernel(
    x, weight, weight_scale, bias, tokens, x_scale, out_scale, out, sums, arrivals,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PARTS: tl.constexpr,
    GELU: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    """One tile of the result of :func:`linear_int8`, or one part of its sums."""
    follow(DEPENDENT)
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    HALF: tl.constexpr = BLOCK_K // 2
    k = tl.arange(0, HALF)
    in_rows = row[:, None] < tokens
    in_columns = column < OUT_FEATURES
    x_ptrs = x + row[:, None].to(tl.int64) * IN_FEATURES + k[None, :]
    w_ptrs = weight + column[None, :] * IN_FEATURES + k[:, None]
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.int32)
    LENGTH: tl.constexpr = (IN_FEATURES + BLOCK_K - 1) // BLOCK_K // PARTS * BLOCK_K
    begin = tl.program_id(2) * LENGTH if PARTS > 1 else 0
    for first in range(0, LENGTH, BLOCK_K):
        # Two products a step: with one, Triton carries the next step's operands from step to step,
        # a register a byte, which takes a block's place on SM 80, 86, 89 and 120.
        for half in tl.static_range(2):  # pyright: ignore[reportGeneralTypeIssues]
            start = begin + first + half * HALF
            x_mask = in_rows
            w_mask = in_columns[None, :]
            if IN_FEATURES % BLOCK_K != 0:
                x_mask = x_mask & (start + k[None, :] < IN_FEATURES)
                w_mask = w_mask & (start + k[:, None] < IN_FEATURES)
            a = tl.load(x_ptrs + start, mask=x_mask, other=0)
            b = tl.load(w_ptrs + start, mask=w_mask, other=0)
            acc = tl.dot(a, b, acc, out_dtype=tl.int32)
    if PARTS > 1:
        if not bring_part(acc, sums, arrivals, PARTS):
            return
        acc = add_parts(sums, BLOCK_M, BLOCK_N, PARTS)
    finish_int8(
        acc, weight_scale, bias, x_scale, out_scale, out,
        tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N, tokens,
        OUT_FEATURES, BLOCK_M, BLOCK_N, GELU, QUANTIZE, PER_CHANNEL,
    )  # fmt: skip


def linear_int8(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    x_scale: float,
    gelu: bool = False,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
) -> torch.Tensor:
    """``int32(x · weightᵀ) · (x_scale · weight_scale) + bias``, optionally GELU, in one kernel.

    Args:
        x: ``[T, in]`` int8, contiguous.
        weight: ``[out, in]`` int8, contiguous, as ``torch.nn.Linear`` stores it.
        weight_scale: ``[out]`` fp32, one scale per output channel.
        bias: ``[out]`` fp16, bf16 or fp32.
        x_scale: scale of ``x``, above 0.
        gelu: whether exact GELU follows.
        out_scale: scale of an int8 result, above 0, or ``channel_scales`` of one per channel;
            without it the result is ``out_dtype``.
        out_dtype: fp16, bf16 or fp32.

    Returns:
        ``[T, out]``.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    _check(x, weight, weight_scale, bias)
    require_positive(x_scale=x_scale)
    require_scale("out_scale", out_scale, weight.shape[0])
    return launch_linear_int8(
        x,
        weight,
        weight_scale,
        bias,
        linear_int8_tile(x.shape[0]),
        x_scale=x_scale,
        gelu=gelu,
        out_scale=out_scale,
        out_dtype=out_dtype,
    )


def launch_linear_int8(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor,
    tile: Tile | None,
    *,
    x_scale: float,
    gelu: bool = False,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
    arrivals: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`linear_int8` with a tile of the caller's choice; None for the library's product.

    ``arrivals`` as for :func:`xopt.engines.kernels.parts.part_arguments`.
    """
    require_device(x, weight, weight_scale, bias, only_tensor(out_scale))
    tokens, in_features = x.shape
    out_features = weight.shape[0]
    out = torch.empty(
        (tokens, out_features),
        dtype=out_dtype if out_scale is None else torch.int8,
        device=x.device,
    )
    if not tokens:
        return out
    step = 1.0 if out_scale is None else out_scale
    epilogue = {
        "GELU": gelu,
        "QUANTIZE": out_scale is not None,
        "PER_CHANNEL": isinstance(out_scale, torch.Tensor),
    }
    if tile is None:
        acc = torch._int_mm(x, weight.T)
        _epilogue_kernel[(triton.cdiv(tokens, 8), triton.cdiv(out_features, 256))](
            acc, weight_scale, bias, tokens, x_scale, step, out,
            OUT_FEATURES=out_features, BLOCK_M=8, BLOCK_N=256, num_warps=4, **epilogue,
            **launch_options(x.device),
        )  # fmt: skip
        return out
    if tile.bulk:
        others = (weight_scale, bias, tokens, x_scale, step, out)
        bulk_launch(linear_int8_bulk_kernel, tile, x, weight, *others, **epilogue)
        return out
    rows, columns = triton.cdiv(tokens, tile.block_m), triton.cdiv(out_features, tile.block_n)
    parts = part_arguments(tile, x, out_features, torch.int32, arrivals)
    linear_int8_kernel[(rows, columns, tile.parts)](
        x, weight, weight_scale, bias, tokens, x_scale, step, out,
        OUT_FEATURES=out_features, IN_FEATURES=in_features,
        BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, BLOCK_K=tile.block_k,
        num_warps=tile.num_warps, num_stages=tile.num_stages, maxnreg=tile.max_registers,
        **parts, **epilogue, **launch_options(x.device),
    )  # fmt: skip
    return out


def linear_int8_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    x_scale: float,
    gelu: bool = False,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
) -> torch.Tensor:
    """What :func:`linear_int8` computes, with exact integers and a plain fp32 epilogue."""
    _check(x, weight, weight_scale, bias)
    # fp64 holds every sum of int8 products exactly, and has a matrix product on every device.
    product = (x.double() @ weight.double().T).float()
    y = product * (weight_scale * x_scale) + bias.float()
    if gelu:
        y = torch.nn.functional.gelu(y)
    return y.to(out_dtype) if out_scale is None else quantize_reference(y, scale_of(out_scale))


def _check(
    x: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor, bias: torch.Tensor
) -> None:
    if x.shape[-1] >= MOST_FEATURES:
        raise KernelInputError(
            f"Sums of {x.shape[-1]:,} products of int8 do not fit into int32; at most "
            f"{MOST_FEATURES - 1:,} do.",
            hint="Use fp16 for this product.",
        )
    require_shape("x", x, ("T", "in"))
    require_shape("weight", weight, ("out", x.shape[1]))
    require_shape("weight_scale", weight_scale, (weight.shape[0],))
    require_shape("bias", bias, (weight.shape[0],))
    require_dtype("x", x, [torch.int8])
    require_dtype("weight", weight, [torch.int8])
    require_dtype("weight_scale", weight_scale, [torch.float32])
    require_dtype("bias", bias, FLOATS)
