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
    "load_scale",
    "narrow",
    "quantize",
    "quantize_reference",
    "round_to_int8",
]

# Adding 1.5 * 2**23 to a float32 of magnitude below 2**22 leaves the nearest integer, halves to
# even, in the low bits of the mantissa, in two's complement.
ROUNDER: tl.constexpr = tl.constexpr(12582912.0)
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
def round_to_int8(x):
    """float32 of any shape to int8: nearest integer, halves to even, saturated to [-128, 127]."""
    x = tl.minimum(tl.maximum(x, -128.0), 127.0)
    return (x + ROUNDER).to(tl.int32, bitcast=True).to(tl.int8)


@triton.jit
def load_scale(scale, column, exists, PER_CHANNEL: tl.constexpr):
    """The scale of each ``column``: ``scale`` itself, or what it points to."""
    if PER_CHANNEL:
        return tl.load(scale + column, mask=exists, other=1.0)
    else:
        return scale


@triton.jit
def quantize(x, scale):
    """QuantizeLinear(x, scale) with zero point 0: divide, round half to even, saturate."""
    # The division must round correctly, or values at a half step would part from the reference.
    return round_to_int8(tl.div_rn(x, scale + tl.zeros_like(x)))


def quantize_reference(x: torch.Tensor, scale: float | torch.Tensor) -> torch.Tensor:
    """QuantizeLinear(x, scale) with zero point 0: float tensor to int8 of the same shape."""
    if not isinstance(scale, torch.Tensor):
        # A Python float is a double; the kernels hold scales in float32.
        scale = torch.tensor(scale, dtype=torch.float32, device=x.device)
    return torch.round(x.float() / scale).clamp(-128, 127).to(torch.int8)
