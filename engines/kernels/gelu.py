"""Bias addition and GELU in one pass, optionally quantized for the next matrix product.

The exact form, ``x · Φ(x)`` by the error function (Hendrycks and Gimpel, 2016), in fp32: that is
what the checkpoints were trained with, and what the tanh form only approximates.
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
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.rounding import narrow, quantize, quantize_reference
from xopt.engines.kernels.spec import OPTIONS, GridRule, KernelSpec

__all__ = ["bias_gelu", "bias_gelu_reference", "bias_gelu_specs", "gelu"]

BLOCK = 1024
NUM_WARPS = 4


@triton.jit
def gelu(x):
    """Exact GELU of an fp32 tensor."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _bias_gelu_kernel(
    x, bias, out_scale, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr, QUANTIZE: tl.constexpr
):
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = column < WIDTH
    place = tl.program_id(0).to(tl.int64) * WIDTH + column
    y = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    y = gelu(y + tl.load(bias + column, mask=exists, other=0.0).to(tl.float32))
    if QUANTIZE:
        tl.store(out + place, quantize(y, out_scale), mask=exists)
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
            num_warps=NUM_WARPS, **OPTIONS,
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
