"""Rounding: to INT8 as ONNX QuantizeLinear defines it, and to the narrow floating-point types."""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

__all__ = [
    "INTERPRETED",
    "channel_scales",
    "fused_multiply_add",
    "load_columns",
    "load_scale",
    "narrow",
    "quantize",
    "quantize_by_fours",
    "quantize_reference",
    "reciprocal",
    "round_to_whole",
    "scale_of",
]

# Adding 1.5 * 2**23 to a float32 of magnitude below 2**22 leaves the nearest integer, halves to
# even, in the low bits of the mantissa, in two's complement.
ROUNDER: tl.constexpr = tl.constexpr(12582912.0)
NUDGE: tl.constexpr = tl.constexpr(2.0**-23)
# Whether numpy runs the kernels on a CPU. Triton decides when they are decorated, which is now.
INTERPRETED: tl.constexpr = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """float32 of any shape to ``dtype``: nearest value, halves to even."""
    # The interpreter cuts the bits off that bf16 has no place for.
    if INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def round_to_whole(x):
    """float32 in [0, 2^22), of any shape: nearest integer, halves to even, at most 127."""
    return (tl.minimum(x, 127.0) + ROUNDER) - ROUNDER


@triton.jit
def load_columns(values, column, exists, other: tl.constexpr):
    """``values`` [columns] at each ``column``; where all of them exist, ``exists`` is None."""
    if exists is None:
        return tl.load(values + column)
    else:
        return tl.load(values + column, mask=exists, other=other)


@triton.jit
def load_scale(scale, column, exists, COLUMNS: tl.constexpr, PER_CHANNEL: tl.constexpr):
    """The scale of each ``column`` and its reciprocal, for :func:`quantize`.

    ``scale`` is a number, or points to what :func:`channel_scales` made.
    """
    if PER_CHANNEL:
        step = load_columns(scale, column, exists, 1.0)
        inverse = load_columns(scale + COLUMNS, column, exists, 1.0)
    else:
        step = tl.full([1], scale, tl.float32)
        inverse = reciprocal(step)
    return step, inverse


@triton.jit
def fused_multiply_add(a, b, c):
    """``a · b + c``, rounded once; float32 tensors of one shape."""
    if not INTERPRETED:
        return tl.fma(a, b, c)
    # numpy has no such operation. float64 holds the product exactly; the sum is rounded to an odd
    # last bit, so that rounding it again to float32 is as if it had never been rounded.
    product, addend = a.to(tl.float64) * b.to(tl.float64), c.to(tl.float64)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    bits = total.to(tl.int64, bitcast=True)
    inexact = ((error > 0) | (error < 0)) & ((bits & 1) == 0)
    bits += tl.where(inexact, tl.where((error > 0) == (total > 0), 1, -1), 0)
    return bits.to(tl.float64, bitcast=True).to(tl.float32)


@triton.jit
def reciprocal(x):
    """``1 / x`` to the nearest float32, for x > 0 within its normal range.

    Two steps of Newton's method from an approximation to a few ulp. The second residual is taken a
    bit larger than it is: without that, the one mantissa that is all ones falls on a tie. A
    division gives the same, but calls a function, which costs a tile twice the registers.
    """
    one = 1.0 + tl.zeros_like(x)
    root = tl.rsqrt(x)
    inverse = root * root
    inverse = fused_multiply_add(fused_multiply_add(-x, inverse, one), inverse, inverse)
    residual = fused_multiply_add(-x, inverse, one)
    residual = fused_multiply_add(tl.abs(residual), tl.zeros_like(x) + NUDGE, residual)
    return fused_multiply_add(residual, inverse, inverse)


@triton.jit
def _quotient(x, scale, inverse):
    """``x / scale`` to the nearest float32, as :func:`quantize` says."""
    # Not a sum with zeros, which is an instruction a value: it would turn -0 into 0.
    scale, _ = tl.broadcast(scale, x)
    inverse, _ = tl.broadcast(inverse, x)
    quotient = x * inverse
    remainder = fused_multiply_add(-quotient, scale, x)
    return fused_multiply_add(remainder, inverse, quotient)


@triton.jit
def quantize(x, scale, inverse, FINITE: tl.constexpr):
    """QuantizeLinear(x, scale) with zero point 0: divide, round half to even, saturate.

    The integer is that of the correctly rounded quotient, for scales and quotients within
    float32's normal range, at three operations a value instead of a division's eighteen: the
    product with the scale's ``inverse``, which is the nearest float32 to its reciprocal, the
    remainder, and one correction (Markstein, 1990). ``test_rounding.py`` holds this to every
    quotient that lies close enough to the edge of a half step to be in doubt. Unless every value
    is ``FINITE``, what lies beyond the ends is moved to them first, since the remainder of an
    infinite quotient is NaN, which would become -128.
    """
    if not FINITE:
        x = tl.minimum(tl.maximum(x, -128.0 * scale), 127.0 * scale)
    quotient = _quotient(x, scale, inverse)
    if FINITE:
        quotient = tl.minimum(tl.maximum(quotient, -128.0), 127.0)
    return (quotient + ROUNDER).to(tl.int32, bitcast=True).to(tl.int8)


@triton.jit
def quantize_by_fours(x, scale, inverse):
    """:func:`quantize` of finite values, by the device's own conversions.

    They round half to even and saturate, and from SM 86 on one instruction does so for two values
    and packs them: three instructions a value less. A thread has a multiple of four values.
    """
    if INTERPRETED:
        return quantize(x, scale, inverse, True)
    else:
        return tl.inline_asm_elementwise(
            """{
            .reg .s32 a, b, c, d;
            .reg .b32 upper;
            cvt.rni.s32.f32 a, $1;
            cvt.rni.s32.f32 b, $2;
            cvt.rni.s32.f32 c, $3;
            cvt.rni.s32.f32 d, $4;
            cvt.pack.sat.s8.s32.b32 upper, d, c, 0;
            cvt.pack.sat.s8.s32.b32 $0, b, a, upper;
            }""",
            "=r,f,f,f,f",
            [_quotient(x, scale, inverse)],
            dtype=tl.int8,
            is_pure=True,
            pack=4,
        )


def channel_scales(scale: torch.Tensor) -> torch.Tensor:
    """What kernels take as one scale per channel: ``[columns]`` -> ``[2, columns]`` fp32.

    Each scale, and the nearest float32 to its reciprocal. It is found once, since in a tile of a
    matrix product a column's reciprocal would serve two values only.
    """
    scale = scale.float()
    # A device's own division may be an approximation; the CPU's is exact.
    return torch.stack([scale, (1 / scale.cpu()).to(scale.device)])


def scale_of(scale: float | torch.Tensor) -> float | torch.Tensor:
    """The scale itself of what kernels take."""
    return scale[0] if isinstance(scale, torch.Tensor) else scale


def quantize_reference(x: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """QuantizeLinear(x, scale) with zero point 0: float tensor to int8 of the same shape."""
    if not isinstance(scale, torch.Tensor):
        # A Python float is a double; the kernels hold scales in float32.
        scale = torch.tensor(scale, dtype=torch.float32, device=x.device)
    return torch.round(x.float() / scale).clamp(-128, 127).to(torch.int8)
