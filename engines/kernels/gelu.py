"""Bias addition and GELU in one pass, optionally quantized for the next matrix product.

The exact form, ``x · Φ(x)`` (Hendrycks and Gimpel, 2016), in fp32: that is what the checkpoints
were trained with, and what the tanh form only approximates.
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
    require_device,
    require_dtype,
    require_positive,
    require_shape,
)
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.rounding import load_scale, narrow, quantize, quantize_reference
from xopt.engines.kernels.spec import GridRule, KernelSpec

__all__ = ["bias_gelu", "bias_gelu_reference", "bias_gelu_specs", "gelu"]

BLOCK = 1024
NUM_WARPS = 4


# log2 Φ(-a) for a >= 0, lowest power first: the polynomial of least error in a · Φ(-a) (a linear
# program over 400 points of [0, 6]; 4.3e-7). Its last coefficient lets it fall on beyond 6.
TAIL_0: tl.constexpr = tl.constexpr(-1.0000371402518007)
TAIL_1: tl.constexpr = tl.constexpr(-1.1507910424453647)
TAIL_2: tl.constexpr = tl.constexpr(-0.45998625281832933)
TAIL_3: tl.constexpr = tl.constexpr(-0.05183163947072183)
TAIL_4: tl.constexpr = tl.constexpr(0.00708540499504478)
TAIL_5: tl.constexpr = tl.constexpr(-0.0004732695965128065)
# The largest float32.
MOST: tl.constexpr = tl.constexpr(3.4028234663852886e38)


@triton.jit
def gelu(x, FINITE: tl.constexpr):
    """GELU of fp32, to 5e-7 and the last bit; of +inf the largest number, of -inf and NaN NaN.

    Where every value is ``FINITE``, an instruction less.

    ``x · Φ(x)`` is ``max(x, 0) - |x| · Φ(-|x|)``, and the logarithm of the normal distribution's
    tail is nearly a parabola: eight instructions, where the error function takes thirty-two.
    """
    if not FINITE:
        # The tail of infinity is 0, and 0 · inf would be NaN. Narrowed, this is infinity again.
        x = tl.minimum(x, MOST, propagate_nan=tl.PropagateNan.ALL)
    size = tl.abs(x)
    tail = TAIL_4 + TAIL_5 * size
    tail = TAIL_3 + tail * size
    tail = TAIL_2 + tail * size
    tail = TAIL_1 + tail * size
    tail = TAIL_0 + tail * size
    return tl.maximum(x, 0.0) - size * tl.exp2(tail)


@triton.jit
def _bias_gelu_kernel(
    x, bias, out_scale, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr, QUANTIZE: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = column < WIDTH
    place = tl.program_id(0).to(tl.int64) * WIDTH + column
    y = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    y = gelu(y + tl.load(bias + column, mask=exists, other=0.0).to(tl.float32), False)
    if QUANTIZE:
        step, inverse = load_scale(out_scale, column, exists, WIDTH, False)
        tl.store(out + place, quantize(y, step, inverse, False), mask=exists)
    else:
        tl.store(out + place, narrow(y, out.dtype.element_ty), mask=exists)


def bias_gelu(
    x: torch.Tensor, bias: torch.Tensor, *, out_scale: float | None = None
) -> torch.Tensor:
    """``GELU(x + bias)``, computed in fp32.

    Args:
        x: ``[T, width]`` fp16, bf16 or fp32, contiguous.
        bias: ``[width]`` fp16, bf16 or fp32, contiguous.
        out_scale: scale of an int8 result, above 0; without it the result has ``x``'s dtype.

    Returns:
        ``[T, width]``.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    require_shape("x", x, ("T", "width"))
    require_shape("bias", bias, (x.shape[1],))
    require_dtype("x", x, FLOATS)
    require_dtype("bias", bias, FLOATS)
    require_positive(out_scale=out_scale)
    require_device(x, bias)
    tokens, width = x.shape
    out = torch.empty_like(x, dtype=x.dtype if out_scale is None else torch.int8)
    if tokens:
        _bias_gelu_kernel[(tokens, triton.cdiv(width, BLOCK))](
            x, bias, out_scale or 1.0, out,
            WIDTH=width, BLOCK=BLOCK, QUANTIZE=out_scale is not None,
            num_warps=NUM_WARPS, **launch_options(x.device),
        )  # fmt: skip
    return out


def bias_gelu_reference(
    x: torch.Tensor, bias: torch.Tensor, *, out_scale: float | None = None
) -> torch.Tensor:
    """What :func:`bias_gelu` computes; fp32, or int8 with ``out_scale``, ``[T, width]``."""
    out = torch.nn.functional.gelu(x.float() + bias.float())
    return out if out_scale is None else quantize_reference(out, out_scale)


def bias_gelu_specs(
    *, width: int, dtype: str = "fp16", out_scale: float | None = None
) -> list[KernelSpec]:
    """The kernel for the ahead-of-time compiler; ``x`` and ``bias`` in ``dtype``."""
    return [
        KernelSpec(
            name="bias_gelu",
            function=_bias_gelu_kernel,
            inputs={"x": f"*{dtype}", "bias": f"*{dtype}"},
            scalars={},
            outputs={"out": f"*{dtype}" if out_scale is None else "*i8"},
            constants={
                "out_scale": 1.0 if out_scale is None else out_scale,
                "WIDTH": width,
                "BLOCK": BLOCK,
                "QUANTIZE": out_scale is not None,
            },
            grid=GridRule(block=1, columns=triton.cdiv(width, BLOCK)),
            num_warps=NUM_WARPS,
            num_stages=1,
            multiplies=False,
        )
    ]
