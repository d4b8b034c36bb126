"""The activation of a gated feed-forward part (Shazeer, 2020), optionally quantized.

Both projections come side by side out of one matrix product.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.checks import (
    KernelInputError,
    only_tensor,
    require_device,
    require_dtype,
    require_scale,
    require_shape,
    require_stream,
)
from xopt.engines.kernels.gelu import gelu
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.layer_norm import FLOATS
from xopt.engines.kernels.rounding import load_scale, narrow, quantize, quantize_reference, scale_of

__all__ = ["GATES", "gated", "gated_reference"]

GATES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}
BLOCK = 1024
NUM_WARPS = 4


@triton.jit
def _gated_kernel(
    x, out_scale, out, stream, WIDTH: tl.constexpr, BLOCK: tl.constexpr, SILU: tl.constexpr,
    QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr, HIDDEN: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = column < WIDTH
    row = tl.program_id(0).to(tl.int64)
    place = row * (2 * WIDTH) + column
    y = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    y = y / (1.0 + tl.exp(-y)) if SILU else gelu(y, False)
    y *= tl.load(x + place + WIDTH, mask=exists, other=0.0).to(tl.float32)
    place = row * WIDTH + column
    if QUANTIZE:
        step, inverse = load_scale(out_scale, column, exists, WIDTH, PER_CHANNEL)
        tl.store(out + place, quantize(y, step, inverse, False), mask=exists)
        if stream is not None:
            # NaN if one of them is infinite or NaN, else 0.
            lost = tl.sum(y, 0) * 0.0
            tl.store(stream + row * HIDDEN, narrow(lost, stream.dtype.element_ty), lost != lost)
    else:
        tl.store(out + place, narrow(y, out.dtype.element_ty), mask=exists)


def gated(
    x: torch.Tensor, activation: str, *, out_scale: float | torch.Tensor | None = None,
    stream: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """``activation(x[:, :width]) · x[:, width:]``, computed in fp32.

    Args:
        x: ``[T, 2 · width]`` fp16, bf16 or fp32, contiguous.
        activation: ``gelu``, the exact form, or ``silu``.
        out_scale: scale of an int8 result, above 0, or ``channel_scales`` of one per channel;
            without it the result has ``x``'s dtype.
        stream: as for :func:`xopt.engines.kernels.varlen_attention`.

    Returns:
        ``[T, width]``.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    require_shape("x", x, ("T", "2 · width"))
    require_dtype("x", x, FLOATS)
    if x.shape[1] % 2 or activation not in GATES:
        raise KernelInputError(
            f"A gate of {x.shape[1]} columns by {activation}: there are {', '.join(GATES)}, of an "
            "even number of columns."
        )
    tokens, width = x.shape[0], x.shape[1] // 2
    require_scale("out_scale", out_scale, width)
    require_stream(stream, tokens)
    require_device(x, only_tensor(out_scale), stream)
    dtype = x.dtype if out_scale is None else torch.int8
    out = torch.empty((tokens, width), dtype=dtype, device=x.device)
    if tokens:
        _gated_kernel[(tokens, triton.cdiv(width, BLOCK))](
            x, 1.0 if out_scale is None else out_scale, out, stream,
            WIDTH=width, BLOCK=BLOCK, SILU=activation == "silu", QUANTIZE=out_scale is not None,
            PER_CHANNEL=isinstance(out_scale, torch.Tensor),
            HIDDEN=1 if stream is None else stream.shape[1], num_warps=NUM_WARPS,
            **launch_options(x.device),
        )  # fmt: skip
    return out


def gated_reference(
    x: torch.Tensor, activation: str, *, out_scale: float | torch.Tensor | None = None
) -> torch.Tensor:
    """What :func:`gated` computes; fp32, or int8 with ``out_scale``, ``[T, width]``."""
    first, second = x.float().chunk(2, dim=1)
    out = GATES[activation](first) * second
    return out if out_scale is None else quantize_reference(out, scale_of(out_scale))
