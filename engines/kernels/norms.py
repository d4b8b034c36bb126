"""The norm in front of a part of a layer: what the residual stream becomes, and what is read of it.

LayerNorm (Ba et al., 2016) or RMSNorm (Zhang and Sennrich, 2019), of the sum as it is in fp32.
"""

from __future__ import annotations

import torch

from xopt.engines.kernels.layer_norm import check_norm, launch_norm, layer_norm_row_reference
from xopt.engines.kernels.rounding import quantize_reference, scale_of

__all__ = ["pre_norm", "pre_norm_reference"]


def pre_norm(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    *,
    rms: bool = False,
    out_scale: float | torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``x + residual`` and its norm, in one pass.

    Args:
        x: ``[T, hidden]`` fp16, bf16 or fp32, contiguous.
        residual: as ``x``; None for the norm of ``x`` alone.
        weight: ``[hidden]`` fp16, bf16 or fp32, contiguous.
        bias: as ``weight``; None for none.
        eps: added to the variance or the mean square, above 0.
        rms: whether the mean stays in.
        out_scale: scale of an int8 norm, above 0, or ``channel_scales`` of one per channel; without
            it the norm has ``x``'s dtype.

    Returns:
        The sum in ``residual``'s dtype (``x`` itself without one), and the norm, ``[T, hidden]``
        both.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    check_norm(x, residual, weight, bias, eps, out_scale)
    stream = None if residual is None else torch.empty_like(residual)
    out = torch.empty_like(x) if out_scale is None else None
    out_int8 = launch_norm(
        x, residual, weight, bias, eps, out_scale, out=out, stream=stream, rms=rms
    )
    read = out if out_int8 is None else out_int8
    assert read is not None
    return x if stream is None else stream, read


def pre_norm_reference(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    *,
    rms: bool = False,
    out_scale: float | torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`pre_norm` computes; fp32, and fp32 or int8, ``[T, hidden]``."""
    total = x.float() if residual is None else x.float() + residual.float()
    if rms:
        out = torch.nn.functional.rms_norm(total, total.shape[-1:], weight.float(), eps)
        out = out if bias is None else out + bias.float()
    else:
        out = layer_norm_row_reference(total, weight, bias, eps)
    return total, out if out_scale is None else quantize_reference(out, scale_of(out_scale))
