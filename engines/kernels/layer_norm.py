"""Residual addition and LayerNorm in one pass, with an INT8 copy for the next matrix product.

One program holds one token in registers: the mean and the variance are those of the whole row, in
two passes over registers, in fp32 (Ba et al., 2016; biased variance, as PyTorch computes it).
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
    only_tensor,
    require_device,
    require_dtype,
    require_positive,
    require_scale,
    require_shape,
)
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.rounding import load_scale, narrow, quantize, quantize_reference, scale_of
from xopt.engines.kernels.spec import GridRule, KernelSpec

__all__ = [
    "FLOATS",
    "ROW_WARPS",
    "add_layer_norm",
    "add_layer_norm_int8",
    "add_layer_norm_int8_reference",
    "add_layer_norm_reference",
    "add_layer_norm_specs",
    "check_norm",
    "launch_norm",
    "layer_norm_row",
    "layer_norm_row_reference",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
ROW_WARPS = 4


@triton.jit
def layer_norm_row(
    x, weight, bias, eps, out_scale, out, out_int8,
    HIDDEN: tl.constexpr, BLOCK: tl.constexpr, PER_CHANNEL: tl.constexpr, RMS: tl.constexpr,
):  # fmt: skip
    """Normalize one row ``x`` (fp32 [BLOCK], 0 from HIDDEN on) and store it as this program's.

    ``bias``, ``out`` and ``out_int8`` may be None.
    """
    column = tl.arange(0, BLOCK)
    exists = column < HIDDEN
    centred = x
    if not RMS:
        mean = tl.sum(x, 0) / HIDDEN
        centred = tl.where(exists, x - mean, 0.0)
    variance = tl.sum(centred * centred, 0) / HIDDEN
    # Squares beyond fp32: divided by their infinite sum, every value would be 0.
    variance = tl.where(variance == float("inf"), float("nan"), variance)
    w = tl.load(weight + column, mask=exists, other=0.0).to(tl.float32)
    b = 0.0
    if bias is not None:
        b = tl.load(bias + column, mask=exists, other=0.0).to(tl.float32)
    y = centred / tl.sqrt_rn(variance + eps) * w
    if bias is not None:
        y += b
    place = tl.program_id(0).to(tl.int64) * HIDDEN + column
    if out is not None:
        tl.store(out + place, narrow(y, out.dtype.element_ty), mask=exists)
    if out_int8 is not None:
        scale, inverse = load_scale(out_scale, column, exists, HIDDEN, PER_CHANNEL)
        tl.store(out_int8 + place, quantize(y, scale, inverse, False), mask=exists)


@triton.jit
def add_norm_kernel(
    x, residual, weight, bias, eps, out_scale, out, out_int8, stream,
    HIDDEN: tl.constexpr, BLOCK: tl.constexpr, PER_CHANNEL: tl.constexpr, RMS: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    """The norm of ``x + residual``; the sum itself goes to ``stream``. Both may be None."""
    follow(DEPENDENT)
    column = tl.arange(0, BLOCK)
    place = tl.program_id(0).to(tl.int64) * HIDDEN + column
    total = tl.load(x + place, mask=column < HIDDEN, other=0.0).to(tl.float32)
    if residual is not None:
        total += tl.load(residual + place, mask=column < HIDDEN, other=0.0).to(tl.float32)
    if stream is not None:
        tl.store(stream + place, narrow(total, stream.dtype.element_ty), mask=column < HIDDEN)
    layer_norm_row(
        total, weight, bias, eps, out_scale, out, out_int8, HIDDEN, BLOCK, PER_CHANNEL, RMS
    )


def add_layer_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """``LayerNorm(x + residual) * weight + bias``, computed in fp32.

    Args:
        x: ``[T, hidden]`` fp16, bf16 or fp32, contiguous.
        residual: ``[T, hidden]`` fp16, bf16 or fp32, contiguous.
        weight: ``[hidden]`` fp16, bf16 or fp32, contiguous.
        bias: ``[hidden]`` fp16, bf16 or fp32, contiguous; None for none.
        eps: added to the variance, above 0.

    Returns:
        ``[T, hidden]`` in ``residual``'s dtype.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    out, _ = _launch(x, residual, weight, bias, eps, None)
    return out


def add_layer_norm_int8(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`add_layer_norm`, and the same rows quantized for an INT8 matrix product.

    Args:
        out_scale: scale of the int8 result, above 0, or ``channel_scales`` of one per channel; the
            rest as for :func:`add_layer_norm`.

    Returns:
        ``[T, hidden]`` in ``residual``'s dtype, and ``[T, hidden]`` int8, rounded from fp32.
    """
    out, out_int8 = _launch(x, residual, weight, bias, eps, out_scale)
    assert out_int8 is not None
    return out, out_int8


def check_norm(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor | None,
) -> None:
    """Check what every norm of a sum takes.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as :func:`add_layer_norm` describes it.
    """
    require_shape("x", x, ("T", "hidden"))
    if residual is not None:
        require_shape("residual", residual, tuple(x.shape))
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None:
            require_shape(name, vector, (x.shape[1],))
    for name, tensor in (("x", x), ("residual", residual), ("weight", weight), ("bias", bias)):
        if tensor is not None:
            require_dtype(name, tensor, FLOATS)
    require_positive(eps=eps)
    require_scale("out_scale", out_scale, x.shape[1])
    require_device(x, residual, weight, bias, only_tensor(out_scale))


def _launch(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    check_norm(x, residual, weight, bias, eps, out_scale)
    out = torch.empty_like(residual)
    return out, launch_norm(x, residual, weight, bias, eps, out_scale, out=out)


def launch_norm(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor | None,
    *,
    out: torch.Tensor | None,
    stream: torch.Tensor | None = None,
    rms: bool = False,
) -> torch.Tensor | None:
    """Fill ``out`` and ``stream`` where there are some; arguments as :func:`check_norm` takes them.

    Returns:
        The norm in int8 where there is a scale for it, ``[T, hidden]``.
    """
    tokens, hidden = x.shape
    out_int8 = None if out_scale is None else torch.empty_like(x, dtype=torch.int8)
    if tokens:
        add_norm_kernel[(tokens,)](
            x, residual, weight, bias, eps, 1.0 if out_scale is None else out_scale, out, out_int8,
            stream, HIDDEN=hidden, BLOCK=triton.next_power_of_2(hidden),
            PER_CHANNEL=isinstance(out_scale, torch.Tensor), RMS=rms, num_warps=ROW_WARPS,
            **launch_options(x.device),
        )  # fmt: skip
    return out_int8


def layer_norm_row_reference(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """LayerNorm of ``[T, hidden]`` over the last dimension, in plain fp32."""
    full = None if bias is None else bias.float()
    return torch.nn.functional.layer_norm(x.float(), x.shape[-1:], weight.float(), full, eps)


def add_layer_norm_reference(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """What :func:`add_layer_norm` computes; fp32 ``[T, hidden]``."""
    return layer_norm_row_reference(x.float() + residual.float(), weight, bias, eps)


def add_layer_norm_int8_reference(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`add_layer_norm_int8` computes; fp32 and int8 ``[T, hidden]``."""
    out = add_layer_norm_reference(x, residual, weight, bias, eps)
    return out, quantize_reference(out, scale_of(out_scale))


def add_layer_norm_specs(
    *, hidden: int, dtype: str = "fp16", eps: float = 1e-5, out_scale: float | None = None
) -> list[KernelSpec]:
    """The kernel for the ahead-of-time compiler; all tensors in ``dtype``.

    With ``out_scale`` the kernel has a second, int8 output.
    """
    pointer = f"*{dtype}"
    constants = {
        "eps": eps,
        "out_scale": 1.0 if out_scale is None else out_scale,
        "HIDDEN": hidden,
        "BLOCK": triton.next_power_of_2(hidden),
        "PER_CHANNEL": False,
        "RMS": False,
        "stream": None,
    }
    return [
        KernelSpec(
            name="add_layer_norm",
            function=add_norm_kernel,
            inputs=dict.fromkeys(("x", "residual", "weight", "bias"), pointer),
            scalars={},
            outputs={"out": pointer} if out_scale is None else {"out": pointer, "out_int8": "*i8"},
            constants={**constants, "out_int8": None} if out_scale is None else constants,
            grid=GridRule(block=1),
            num_warps=ROW_WARPS,
            num_stages=1,
            multiplies=False,
        )
    ]
