"""The linear kernels whose operands come by bulk copies (TMA), on SM 90 and 100.

One thread asks for a whole box of a tensor, and the hardware finds the addresses and fills up what
lies beyond the tensor with zeros; no register holds a pointer. A program works on one tile, or as
many programs as the GPU holds at a time work off all of them: then the loads of a program's next
tile run beside the epilogue of the one before.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from xopt.engines.kernels.checks import KernelInputError
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.linear_finish import finish_float, finish_int8
from xopt.engines.kernels.linear_tiles import STRIDE_BYTES, gpu_of
from xopt.engines.kernels.rounding import INTERPRETED
from xopt.engines.kernels.tiles import Tile

__all__ = ["bulk_launch", "linear_gelu_bulk_kernel", "linear_int8_bulk_kernel"]


@triton.jit
def _multiply(
    x, weight, row, column, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """The sums [BLOCK_M, BLOCK_N] of the tile that begins at ``row`` and ``column``."""
    acc = tl.zeros([BLOCK_M, BLOCK_N], SUMS)
    for k in range(0, IN_FEATURES, BLOCK_K):
        a = x.load([row, k])
        b = weight.load([column, k])
        # numpy has no bf16 to multiply.
        if INTERPRETED and tl.float32 == SUMS:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        acc = tl.dot(a, b.T, acc, input_precision="ieee", out_dtype=SUMS)
    return acc


@triton.jit
def _int8_tile(
    tile, x, weight, weight_scale, bias, tokens, x_scale, out_scale, out,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GELU: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
):  # fmt: skip
    COLUMNS: tl.constexpr = (OUT_FEATURES + BLOCK_N - 1) // BLOCK_N
    row, column = tile // COLUMNS * BLOCK_M, tile % COLUMNS * BLOCK_N
    acc = _multiply(x, weight, row, column, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K, tl.int32)
    finish_int8(
        acc, weight_scale, bias, x_scale, out_scale, out, row, column, tokens,
        OUT_FEATURES, BLOCK_M, BLOCK_N, GELU, QUANTIZE, PER_CHANNEL,
    )  # fmt: skip


@triton.jit(do_not_specialize=["tokens"])
def linear_int8_bulk_kernel(
    x, weight, weight_scale, bias, tokens, x_scale, out_scale, out,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GELU: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
    RESIDENT: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    """:func:`xopt.engines.kernels.linear_int8`, of descriptors of ``x`` and ``weight``."""
    follow(DEPENDENT)
    if RESIDENT:
        tiles = tl.cdiv(tokens, BLOCK_M) * ((OUT_FEATURES + BLOCK_N - 1) // BLOCK_N)
        first = tl.program_id(0)
        # From 0, because the interpreter's counter is a plain int.
        for ahead in tl.range(0, tiles - first, tl.num_programs(0), flatten=True):
            _int8_tile(
                first + ahead, x, weight, weight_scale, bias, tokens, x_scale, out_scale, out,
                OUT_FEATURES, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K, GELU, QUANTIZE, PER_CHANNEL,
            )  # fmt: skip
    else:
        _int8_tile(
            tl.program_id(0), x, weight, weight_scale, bias, tokens, x_scale, out_scale, out,
            OUT_FEATURES, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K, GELU, QUANTIZE, PER_CHANNEL,
        )  # fmt: skip


@triton.jit
def _gelu_tile(
    tile, x, weight, bias, tokens, out,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    COLUMNS: tl.constexpr = (OUT_FEATURES + BLOCK_N - 1) // BLOCK_N
    row, column = tile // COLUMNS * BLOCK_M, tile % COLUMNS * BLOCK_N
    acc = _multiply(x, weight, row, column, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K, tl.float32)
    finish_float(acc, bias, out, row, column, tokens, OUT_FEATURES, BLOCK_M, BLOCK_N)


@triton.jit(do_not_specialize=["tokens"])
def linear_gelu_bulk_kernel(
    x, weight, bias, tokens, out,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    RESIDENT: tl.constexpr, DEPENDENT: tl.constexpr,
):  # fmt: skip
    """:func:`xopt.engines.kernels.linear_gelu`, of descriptors of ``x`` and ``weight``."""
    follow(DEPENDENT)
    if RESIDENT:
        tiles = tl.cdiv(tokens, BLOCK_M) * ((OUT_FEATURES + BLOCK_N - 1) // BLOCK_N)
        first = tl.program_id(0)
        # From 0, because the interpreter's counter is a plain int.
        for ahead in tl.range(0, tiles - first, tl.num_programs(0), flatten=True):
            _gelu_tile(
                first + ahead, x, weight, bias, tokens, out,
                OUT_FEATURES, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K,
            )  # fmt: skip
    else:
        _gelu_tile(
            tl.program_id(0), x, weight, bias, tokens, out,
            OUT_FEATURES, IN_FEATURES, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip


def bulk_launch(
    kernel: Any, tile: Tile, x: torch.Tensor, weight: torch.Tensor, *others: Any, **variant: Any
) -> None:
    """Launch one of the two kernels.

    Args:
        kernel: of this module.
        tile: with ``bulk``.
        x: ``[T, in]``, T above 0.
        weight: ``[out, in]``.
        others: the kernel's arguments behind these two.
        variant: its constants but for the tile's.

    Raises:
        KernelInputError: rows are no multiple of 16 bytes, which descriptors need.
    """
    if x.shape[1] * x.element_size() % STRIDE_BYTES:
        raise KernelInputError(
            f"Rows of {x.shape[1]} values of {x.dtype} cannot be copied in bulk: their bytes are no"
            f" multiple of {STRIDE_BYTES}.",
            hint="Take a tile without `bulk`.",
        )
    tiles = triton.cdiv(x.shape[0], tile.block_m) * triton.cdiv(weight.shape[0], tile.block_n)
    programs = min(tiles, tile.resident * gpu_of(x.device).processors) if tile.resident else tiles
    kernel[(programs,)](
        TensorDescriptor.from_tensor(x, [tile.block_m, tile.block_k]),
        TensorDescriptor.from_tensor(weight, [tile.block_n, tile.block_k]),
        *others, OUT_FEATURES=weight.shape[0], IN_FEATURES=x.shape[1],
        BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, BLOCK_K=tile.block_k,
        RESIDENT=tile.resident > 0, num_warps=tile.num_warps, num_stages=tile.num_stages,
        maxnreg=tile.max_registers, **variant, **launch_options(x.device),
    )  # fmt: skip
