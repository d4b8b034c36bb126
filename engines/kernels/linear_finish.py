"""What stands behind the sums of a linear kernel's tile."""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import triton
import triton.language as tl

from xopt.engines.kernels.gelu import gelu
from xopt.engines.kernels.rounding import (
    load_columns,
    load_scale,
    narrow,
    quantize_by_fours,
)

__all__ = ["finish_float", "finish_int8"]


@triton.jit
def finish_int8(
    acc, weight_scale, bias, x_scale, out_scale, out, first_row, first_column, tokens,
    OUT_FEATURES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    GELU: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
):  # fmt: skip
    """Dequantize the int32 sums [rows, columns], add the bias, apply GELU, requantize, store."""
    row = tl.arange(0, BLOCK_M)
    column = first_column + tl.arange(0, BLOCK_N)
    exists = first_row + row[:, None] < tokens
    in_columns = None
    if OUT_FEATURES % BLOCK_N != 0:
        in_columns = column < OUT_FEATURES
        exists = exists & in_columns[None, :]
    scale = load_columns(weight_scale, column, in_columns, 0.0) * x_scale
    shift = load_columns(bias, column, in_columns, 0.0).to(tl.float32)
    y = acc.to(tl.float32) * scale[None, :] + shift[None, :]
    if GELU:
        # Sums of whole numbers are finite.
        y = gelu(y, True)
    # Offsets from a tile's first row fit into int32, offsets from the batch's may not.
    out += first_row.to(tl.int64) * OUT_FEATURES
    out_ptrs = out + row[:, None] * OUT_FEATURES + column[None, :]
    if QUANTIZE:
        step, inverse = load_scale(out_scale, column, in_columns, OUT_FEATURES, PER_CHANNEL)
        whole = quantize_by_fours(y, step[None, :], inverse[None, :])
        tl.store(out_ptrs, whole, mask=exists)
    else:
        tl.store(out_ptrs, narrow(y, out.dtype.element_ty), mask=exists)


@triton.jit
def finish_float(
    acc, bias, out, first_row, first_column, tokens,
    OUT_FEATURES: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Add the bias to the fp32 sums [rows, columns], apply GELU, store."""
    row = tl.arange(0, BLOCK_M)[:, None]
    column = first_column + tl.arange(0, BLOCK_N)
    in_columns = column < OUT_FEATURES
    y = acc + tl.load(bias + column, mask=in_columns, other=0.0).to(tl.float32)[None, :]
    y = gelu(y, False)
    out_ptrs = out + first_row.to(tl.int64) * OUT_FEATURES + row * OUT_FEATURES + column[None, :]
    exists = (first_row + row < tokens) & in_columns[None, :]
    tl.store(out_ptrs, narrow(y, out.dtype.element_ty), mask=exists)
