"""Floating-point matrix product with bias and GELU in its epilogue.

The library's product writes what the step behind it reads again; for the first product of the
feed-forward, the widest of a layer, that is more memory traffic than the product itself has. Which
is fastest depends on the device and the shape, and is left to be measured.
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

from xopt.engines.kernels.checks import require_device, require_dtype, require_shape
from xopt.engines.kernels.gelu import bias_gelu, bias_gelu_reference
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.linear_bulk import bulk_launch, linear_gelu_bulk_kernel
from xopt.engines.kernels.linear_finish import finish_float
from xopt.engines.kernels.linear_tiles import gpu_of, linear_gelu_candidates
from xopt.engines.kernels.parts import add_parts, bring_part, part_arguments
from xopt.engines.kernels.rounding import INTERPRETED
from xopt.engines.kernels.tiles import Tile

__all__ = [
    "launch_linear_gelu",
    "linear_gelu",
    "linear_gelu_kernel",
    "linear_gelu_reference",
]


@triton.jit(do_not_specialize=["tokens"])
def linear_gelu_kernel(
    x, weight, bias, tokens, out, sums, arrivals,
    OUT_FEATURES: tl.constexpr, IN_FEATURES: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PARTS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    """One tile of the result of :func:`linear_gelu`."""
    follow(DEPENDENT)
    first = tl.program_id(0) * BLOCK_M
    row = tl.arange(0, BLOCK_M)[:, None]
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    in_rows = first + row < tokens
    in_columns = column < OUT_FEATURES
    # Offsets from a tile's first row fit into int32, offsets from the batch's may not.
    x_ptrs = x + first.to(tl.int64) * IN_FEATURES + row * IN_FEATURES + k[None, :]
    w_ptrs = weight + column[None, :] * IN_FEATURES + k[:, None]
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    LENGTH: tl.constexpr = (IN_FEATURES + BLOCK_K - 1) // BLOCK_K // PARTS * BLOCK_K
    begin = tl.program_id(2) * LENGTH if PARTS > 1 else 0
    for ahead in range(0, LENGTH, BLOCK_K):
        step = begin + ahead
        x_mask = in_rows
        w_mask = in_columns[None, :]
        if IN_FEATURES % BLOCK_K != 0:
            x_mask = x_mask & (step + k[None, :] < IN_FEATURES)
            w_mask = w_mask & (step + k[:, None] < IN_FEATURES)
        a = tl.load(x_ptrs + step, mask=x_mask, other=0.0)
        b = tl.load(w_ptrs + step, mask=w_mask, other=0.0)
        # numpy has no bf16 to multiply.
        if INTERPRETED:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        acc = tl.dot(a, b, acc, input_precision="ieee")
    if PARTS > 1:
        if not bring_part(acc, sums, arrivals, PARTS):
            return
        acc = add_parts(sums, BLOCK_M, BLOCK_N, PARTS)
    column = tl.program_id(1) * BLOCK_N
    finish_float(acc, bias, out, first, column, tokens, OUT_FEATURES, BLOCK_M, BLOCK_N)


def linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``GELU(x · weightᵀ + bias)``, summed and activated in fp32, in one kernel.

    Args:
        x: ``[T, in]`` fp16, bf16 or fp32 (for tests), contiguous.
        weight: ``[out, in]`` of the same type, as ``torch.nn.Linear`` stores it.
        bias: ``[out]`` fp16, bf16 or fp32.

    Returns:
        ``[T, out]`` in ``x``'s dtype.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    _check(x, weight, bias)
    out_features, in_features = weight.shape
    shape = len(x), x.dtype, out_features, in_features
    tile = linear_gelu_candidates(*shape, gpu_of(x.device))[0]
    return launch_linear_gelu(x, weight, bias, tile)


def launch_linear_gelu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, tile: Tile | None,
    arrivals: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """:func:`linear_gelu` with a tile of the caller's choice; None for the library's product.

    ``arrivals`` as for :func:`xopt.engines.kernels.parts.part_arguments`.
    """
    if tile is None:
        return bias_gelu(torch.nn.functional.linear(x, weight), bias)
    require_device(x, weight, bias)
    tokens, in_features = x.shape
    out_features = weight.shape[0]
    out = torch.empty((tokens, out_features), dtype=x.dtype, device=x.device)
    rows, columns = triton.cdiv(tokens, tile.block_m), triton.cdiv(out_features, tile.block_n)
    if tokens and tile.bulk:
        bulk_launch(linear_gelu_bulk_kernel, tile, x, weight, bias, tokens, out)
    elif tokens:
        linear_gelu_kernel[(rows, columns, tile.parts)](
            x, weight, bias, tokens, out,
            OUT_FEATURES=out_features, IN_FEATURES=in_features,
            BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, BLOCK_K=tile.block_k,
            num_warps=tile.num_warps, num_stages=tile.num_stages,
            maxnreg=tile.max_registers,
            **part_arguments(tile, x, out_features, torch.float32, arrivals),
            **launch_options(x.device),
        )  # fmt: skip
    return out


def linear_gelu_reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """What :func:`linear_gelu` computes, in plain fp32, ``[T, out]``."""
    _check(x, weight, bias)
    return bias_gelu_reference(x.float() @ weight.float().T, bias)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    require_shape("x", x, ("T", "in"))
    require_shape("weight", weight, ("out", x.shape[1]))
    require_shape("bias", bias, (weight.shape[0],))
    require_dtype("x", x, FLOATS)
    require_dtype("weight", weight, [x.dtype])
    require_dtype("bias", bias, FLOATS)
