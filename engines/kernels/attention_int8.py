"""Variable-length attention in INT8, and its plain integer reference.

The arithmetic is that of a graph with Q/DQ pairs on Q, K, V, the softmax output and the context:

    scores  = int32(Q · Kᵀ) · (scale_q · scale_k · softmax_scale)      exact integers, then fp32
    probs   = quantize(softmax(scores), probs_scale)                   int8
    context = int32(probs · V) · (probs_scale · scale_v)               exact integers, then fp32

A probability can be quantized only once it is final, so the one pass of the online softmax, which
keeps correcting earlier steps, would not give these numbers. The kernel therefore goes over the
keys twice: first for the peak and the sum of each row, then for the probabilities. A sentence whose
keys fit into one step, as most do, is read once and kept in registers.

Probabilities and values are multiplied as whole numbers in fp16 and summed in fp32, which is exact
as long as no sum reaches 2^24: with steps of 1/127 up to 260,000 tokens, (127 + S / 2) · 128.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from itertools import pairwise

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.attention import LOG2_E, check_packed_qkv, context_ptrs
from xopt.engines.kernels.attention_tiles import ROWS, attention_int8_tile
from xopt.engines.kernels.checks import (
    only_tensor,
    require_device,
    require_dtype,
    require_positive,
    require_scale,
    require_shape,
)
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.rounding import (
    INTERPRETED,
    load_scale,
    narrow,
    quantize,
    quantize_reference,
    round_to_whole,
)
from xopt.engines.kernels.spec import GridRule
from xopt.engines.kernels.tiles import Tile, find_tile

__all__ = [
    "PROBS_SCALE",
    "launch_attention_int8",
    "varlen_attention_int8",
    "varlen_attention_int8_reference",
]

# A probability is at most 1, and 127 is the largest int8.
PROBS_SCALE = 1.0 / 127.0


@triton.jit
def _scores(q, k_ptr, left, ROW: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_N: tl.constexpr):
    """fp32 [BLOCK_M, BLOCK_N]: the integer products of one step; -inf where no key exists."""
    key = tl.arange(0, BLOCK_N)
    dim = tl.arange(0, HEAD_DIM)
    k = tl.load(k_ptr + key[None, :] * ROW + dim[:, None], mask=key[None, :] < left, other=0)
    scores = tl.dot(q, k, out_dtype=tl.int32).to(tl.float32)
    return tl.where(key[None, :] < left, scores, float("-inf"))


@triton.jit
def _weigh(
    probs, v_ptr, left, acc,
    ROW: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """fp32 [BLOCK_M, HEAD_DIM]: ``acc`` and one step of quantized probabilities times values."""
    key = tl.arange(0, BLOCK_N)
    pair = tl.arange(0, HEAD_DIM // 2)
    pairs = v_ptr.to(tl.pointer_type(tl.int16), bitcast=True)
    pairs += key[:, None] * (ROW // 2) + pair[None, :]
    both = tl.load(pairs, mask=key[:, None] < left, other=0)
    # Whole numbers up to 128 are exact in fp16. Two bytes at a time, since shared memory turns a
    # matrix of int8 around byte by byte, and one of fp16 in one instruction.
    v = tl.join(both.to(tl.int8).to(tl.float16), (both >> 8).to(tl.float16))
    v = v.reshape(BLOCK_N, HEAD_DIM)
    probs = round_to_whole(probs).to(tl.float16)
    if INTERPRETED:
        v = v.to(tl.float32)
        probs = probs.to(tl.float32)
    return tl.dot(probs, v, acc, input_precision="ieee")


@triton.jit(do_not_specialize=["tokens", "sentences"])
def varlen_attention_int8_kernel(
    qkv, cu_seqlens, qkv_scale, tokens, sentences, softmax_scale, probs_scale, out_scale, out,
    HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PER_HEAD: tl.constexpr, QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    ROW: tl.constexpr = 3 * HEADS * HEAD_DIM
    sentence, start, length, first = find_tile(cu_seqlens, tokens, sentences, BLOCK_M)
    if first >= length:
        return
    head = tl.program_id(1)
    row = first + tl.arange(0, BLOCK_M)
    dim = tl.arange(0, HEAD_DIM)
    exists = row[:, None] < length
    out_ptrs = context_ptrs(out, start, first, HEADS, HEAD_DIM, BLOCK_M)
    if sentence == sentences:
        tl.store(out_ptrs, tl.zeros([BLOCK_M, HEAD_DIM], out.dtype.element_ty), mask=exists)
        return

    if PER_HEAD:
        scale_q = tl.load(qkv_scale + head)
        scale_k = tl.load(qkv_scale + HEADS + head)
        scale_v = tl.load(qkv_scale + 2 * HEADS + head)
    else:
        scale_q = tl.load(qkv_scale)
        scale_k = tl.load(qkv_scale + 1)
        scale_v = tl.load(qkv_scale + 2)
    scale_log2 = scale_q * scale_k * softmax_scale * LOG2_E

    q_ptr = qkv + start.to(tl.int64) * ROW + head * HEAD_DIM
    k_ptr = q_ptr + HEADS * HEAD_DIM
    v_ptr = k_ptr + HEADS * HEAD_DIM
    q = tl.load(q_ptr + row[:, None] * ROW + dim[None, :], mask=exists, other=0)
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    if length <= BLOCK_N:
        scores = _scores(q, k_ptr, length, ROW, HEAD_DIM, BLOCK_N)
        peak = tl.max(scores, 1) * scale_log2
        probs = tl.exp2(scores * scale_log2 - peak[:, None])
        step = 1.0 / (tl.sum(probs, 1) * probs_scale)
        acc = _weigh(probs * step[:, None], v_ptr, length, acc, ROW, HEAD_DIM, BLOCK_N)
    else:
        peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        for key in range(0, length, BLOCK_N):
            scores = _scores(q, k_ptr + key * ROW, length - key, ROW, HEAD_DIM, BLOCK_N)
            new_peak = tl.maximum(peak, tl.max(scores, 1) * scale_log2)
            probs = tl.exp2(scores * scale_log2 - new_peak[:, None])
            total = total * tl.exp2(peak - new_peak) + tl.sum(probs, 1)
            peak = new_peak
        step = 1.0 / (total * probs_scale)
        for key in range(0, length, BLOCK_N):
            scores = _scores(q, k_ptr + key * ROW, length - key, ROW, HEAD_DIM, BLOCK_N)
            probs = tl.exp2(scores * scale_log2 - peak[:, None]) * step[:, None]
            acc = _weigh(probs, v_ptr + key * ROW, length - key, acc, ROW, HEAD_DIM, BLOCK_N)

    context = acc * (probs_scale * scale_v)
    if QUANTIZE:
        column = (head * HEAD_DIM + dim)[None, :]
        step, inverse = load_scale(out_scale, column, None, HEADS * HEAD_DIM, PER_CHANNEL)
        tl.store(out_ptrs, quantize(context, step, inverse, True), mask=exists)
    else:
        tl.store(out_ptrs, narrow(context, out.dtype.element_ty), mask=exists)


def varlen_attention_int8(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    *,
    qkv_scale: torch.Tensor,
    scale: float | None = None,
    probs_scale: float = PROBS_SCALE,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
    rows: int = ROWS[0],
) -> torch.Tensor:
    """Bidirectional attention within each sentence of a packed INT8 batch, in one kernel.

    Args:
        qkv: ``[T, 3, heads, head_dim]`` int8, contiguous; ``head_dim`` is 32, 64 or 128.
        cu_seqlens: ``[B + 1]`` int32 on the same device, from 0, never falling; its last entry is
            T, or less where the batch ends in an unused tail.
        max_seqlen: length of the longest sentence, or any bound on it, at least 1.
        qkv_scale: ``[3]`` or ``[3, heads]`` fp32: the scales of Q, K and V, above 0.
        scale: factor of the scores before the softmax, above 0; ``head_dim ** -0.5`` by default.
        probs_scale: scale of the quantized probabilities.
        out_scale: scale of an int8 result, above 0, or ``channel_scales`` of one per
            channel; without it the result is ``out_dtype``.
        out_dtype: fp16, bf16 or fp32.
        rows: of a tile, as for ``varlen_attention``.

    Returns:
        ``[T, heads, head_dim]``; zeros for tokens of the unused tail.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    _check(qkv, cu_seqlens, max_seqlen, qkv_scale)
    require_positive(scale=scale, probs_scale=probs_scale)
    require_scale("out_scale", out_scale, qkv.shape[2] * qkv.shape[3])
    return launch_attention_int8(
        qkv,
        cu_seqlens,
        attention_int8_tile(qkv.shape[3], rows),
        qkv_scale=qkv_scale,
        scale=scale,
        probs_scale=probs_scale,
        out_scale=out_scale,
        out_dtype=out_dtype,
    )


def launch_attention_int8(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    tile: Tile,
    *,
    qkv_scale: torch.Tensor,
    scale: float | None = None,
    probs_scale: float = PROBS_SCALE,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
) -> torch.Tensor:
    """:func:`varlen_attention_int8` with a tile of the caller's choice, for measurements."""
    require_device(qkv, cu_seqlens, qkv_scale, only_tensor(out_scale))
    tokens, _, heads, head_dim = qkv.shape
    sentences = cu_seqlens.shape[0] - 1
    out = torch.empty(
        (tokens, heads, head_dim),
        dtype=out_dtype if out_scale is None else torch.int8,
        device=qkv.device,
    )
    varlen_attention_int8_kernel[GridRule(tile.block_m, 1, heads).grid(tokens, sentences)](
        qkv,
        cu_seqlens,
        qkv_scale,
        tokens,
        sentences,
        head_dim**-0.5 if scale is None else scale,
        probs_scale,
        1.0 if out_scale is None else out_scale,
        out,
        HEADS=heads,
        HEAD_DIM=head_dim,
        BLOCK_M=tile.block_m,
        BLOCK_N=tile.block_n,
        PER_HEAD=qkv_scale.dim() == 2,
        QUANTIZE=out_scale is not None,
        PER_CHANNEL=isinstance(out_scale, torch.Tensor),
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        maxnreg=tile.max_registers,
        **launch_options(qkv.device),
    )
    return out


def varlen_attention_int8_reference(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    *,
    qkv_scale: torch.Tensor,
    scale: float | None = None,
    probs_scale: float = PROBS_SCALE,
    out_scale: float | torch.Tensor | None = None,
    out_dtype: torch.dtype = torch.float16,
    rows: int = ROWS[0],
) -> torch.Tensor:
    """What :func:`varlen_attention_int8` computes, with exact integers, whatever ``rows`` is.

    The kernel may differ where fp32 rounding in the softmax puts a probability on the other side
    of a half step: its quantized value is then off by 1, and nothing else is.
    """
    _check(qkv, cu_seqlens, max_seqlen, qkv_scale)
    heads = qkv.shape[2]
    factor: float = qkv.shape[3] ** -0.5 if scale is None else scale
    scale_q, scale_k, scale_v = qkv_scale.reshape(3, -1).expand(3, heads)[:, :, None, None]
    context = torch.zeros(qkv.shape[0], *qkv.shape[2:], dtype=torch.float32, device=qkv.device)
    for start, end in pairwise(cu_seqlens.tolist()):
        # fp64 holds every sum of int8 products exactly, and has a matrix product on every device.
        q, k, v = qkv[start:end].double().permute(1, 2, 0, 3)
        scores = (q @ k.transpose(1, 2)).float() * (scale_q * scale_k * factor)
        probs = quantize_reference(torch.softmax(scores, dim=-1), probs_scale)
        product = (probs.double() @ v).float() * (probs_scale * scale_v)
        context[start:end] = product.transpose(0, 1)
    if out_scale is None:
        return context.to(out_dtype)
    if isinstance(out_scale, torch.Tensor):
        return quantize_reference(context, out_scale[0].view(context.shape[1:]))
    return quantize_reference(context, out_scale)


def _check(
    qkv: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int, qkv_scale: torch.Tensor
) -> None:
    check_packed_qkv(qkv, cu_seqlens, max_seqlen)
    require_dtype("qkv", qkv, [torch.int8])
    require_dtype("qkv_scale", qkv_scale, [torch.float32])
    require_shape("qkv_scale", qkv_scale, (3,) if qkv_scale.dim() == 1 else (3, qkv.shape[2]))
