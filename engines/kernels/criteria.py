"""When a kernel's answer is right: the bounds that tests and benchmarks hold it to.

Floating point: at most twice the error that plain PyTorch makes in the same dtype, both against
fp32 (the rule of the flash-attention test suite), which needs no tolerance to be chosen. INT8:
equal to the integer reference, except where fp32 rounding in the softmax may decide a half step
either way.
"""

from __future__ import annotations

from itertools import pairwise

import torch

__all__ = ["EPS", "NEAR", "context_bound", "largest_error", "plain_attention", "quantized_bound"]

# Above the rounding of fp32 itself, in which plain PyTorch is the reference; far below a wrong
# element.
EPS = 1e-5
# Quantization steps around a half step within which fp32 rounding may decide.
NEAR = 1e-3


def plain_attention(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scale: float | None = None,
    kv_heads: int | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attention by PyTorch's plain operations in ``qkv``'s dtype, sentence by sentence.

    Args:
        qkv: ``[T, 3, heads, head_dim]``, or ``[T, heads + 2 · kv_heads, head_dim]``.
        cu_seqlens: ``[B + 1]`` int32.
        scale: factor of the scores; ``head_dim ** -0.5`` by default.
        kv_heads: of keys and values, in the second form.
        window: how many tokens to each side a token sees; None for all.

    Returns:
        ``[T, heads, head_dim]``; zeros for tokens of an unused tail.
    """
    factor: float = qkv.shape[-1] ** -0.5 if scale is None else scale
    rows = qkv.flatten(1, -2)
    shared = kv_heads or rows.shape[1] // 3
    heads = rows.shape[1] - 2 * shared
    out = qkv.new_zeros(qkv.shape[0], heads, qkv.shape[-1])
    for start, end in pairwise(cu_seqlens.tolist()):
        parts = rows[start:end].transpose(0, 1)
        q, others = parts[:heads], parts[heads:].repeat_interleave(heads // shared, 0)
        k, v = others.chunk(2)
        scores = q @ k.transpose(1, 2) * factor
        if window is not None:
            place = torch.arange(end - start, device=qkv.device)
            far = (place[:, None] - place).abs() > window
            scores = scores.masked_fill(far, float("-inf"))
        out[start:end] = (torch.softmax(scores, dim=-1) @ v).transpose(0, 1)
    return out


def largest_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest absolute difference; NaN if either holds one."""
    return (out.float() - reference.float()).abs().max().item()


def quantized_bound(exact: torch.Tensor, scale: float) -> torch.Tensor:
    """How many steps a quantized value may differ: 1 near a half step, else 0.

    Args:
        exact: fp32, what is quantized.
        scale: of the quantized tensor.
    """
    steps = exact.double() / scale
    return ((steps - steps.floor() - 0.5).abs() < NEAR).double()


def context_bound(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    qkv_scale: torch.Tensor,
    *,
    scale: float | None = None,
    probs_scale: float = 1.0 / 127.0,
) -> torch.Tensor:
    """How far rounding in the softmax may move the context of INT8 attention.

    A probability near a half step may be quantized either way, and then moves the sum by its key's
    value. The arguments are those of ``varlen_attention_int8``.

    Returns:
        ``[T, heads, head_dim]`` fp64.
    """
    heads, head_dim = qkv.shape[2:]
    factor: float = head_dim**-0.5 if scale is None else scale
    scales = qkv_scale.double().reshape(3, -1).expand(3, heads)[:, :, None, None]
    bound = qkv.new_zeros(qkv.shape[0], heads, head_dim, dtype=torch.float64)
    for start, end in pairwise(cu_seqlens.tolist()):
        q, k, v = qkv[start:end].double().permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) * (scales[0] * scales[1] * factor)
        near = quantized_bound(torch.softmax(scores, dim=-1), probs_scale)
        bound[start:end] = (near @ v.abs() * (probs_scale * scales[2])).transpose(0, 1)
    return bound
