"""Variable-length attention over packed sentences, and its plain reference.

Tiling and online softmax after FlashAttention-2 (Dao, 2023); the variable-length layout is that of
its ``flash_attn_varlen_qkvpacked_func``. The shape legend is in this folder's README.
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

from xopt.engines.kernels.attention_tiles import ROWS, attention_tile
from xopt.engines.kernels.checks import (
    KernelInputError,
    only_tensor,
    require_device,
    require_dtype,
    require_positive,
    require_scale,
    require_shape,
    require_stream,
)
from xopt.engines.kernels.criteria import plain_attention
from xopt.engines.kernels.launching import follow, launch_options
from xopt.engines.kernels.rounding import (
    INTERPRETED,
    load_scale,
    narrow,
    quantize,
    quantize_reference,
)
from xopt.engines.kernels.spec import GridRule
from xopt.engines.kernels.tiles import Tile, find_tile

__all__ = [
    "HEAD_DIMS",
    "check_packed_qkv",
    "context_ptrs",
    "launch_attention",
    "varlen_attention",
    "varlen_attention_reference",
]

HEAD_DIMS = (32, 64, 128)
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
# Far below every score, and finite where one is added.
UNSEEN: tl.constexpr = tl.constexpr(-1e38)
TRITON_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@triton.jit
def context_ptrs(
    out, start, first, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr
):
    """[BLOCK_M, HEAD_DIM]: where the context of the tile's rows and this head lies."""
    row = first + tl.arange(0, BLOCK_M)
    # Offsets from a sentence's beginning fit into int32, offsets from the batch's may not.
    out += start.to(tl.int64) * (HEADS * HEAD_DIM) + tl.program_id(1) * HEAD_DIM
    return out + row[:, None] * (HEADS * HEAD_DIM) + tl.arange(0, HEAD_DIM)[None, :]


@triton.jit
def _attend(
    q, k_ptr, v_ptr, left, ahead, acc, peak, total, scale_log2,
    ROW: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    WINDOW: tl.constexpr,
):  # fmt: skip
    """One step of the online softmax over ``BLOCK_N`` keys, of which ``left`` are read.

    ``ahead`` [BLOCK_M] is how many tokens behind the first of the keys each row is.
    """
    key = tl.arange(0, BLOCK_N)
    dim = tl.arange(0, HEAD_DIM)
    exists = key < left
    k = tl.load(k_ptr + key[None, :] * ROW + dim[:, None], mask=exists[None, :], other=0.0)
    v = tl.load(v_ptr + key[:, None] * ROW + dim[None, :], mask=exists[:, None], other=0.0)
    if INTERPRETED:
        k = k.to(tl.float32)
    # The sums of keys that do not exist begin at -inf: a select for each column, not each score.
    begin = tl.where(exists, 0.0, float("-inf"))[None, :] + tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    if WINDOW is not None:
        # Finite: a row may see no key of this step; the first that it sees makes 0 of all before.
        begin += tl.where(tl.abs(ahead[:, None] - key[None, :]) <= WINDOW, 0.0, UNSEEN)
    scores = tl.dot(q, k, begin, input_precision="ieee")
    # A multiply-add with a scaled peak leaves what that was rounded by: up to 2^16 from 2^28 on.
    new_peak = tl.maximum(peak, tl.max(scores, 1))
    probs = tl.exp2((scores - new_peak[:, None]) * scale_log2)
    decay = tl.exp2((peak - new_peak) * scale_log2)
    total = total * decay + tl.sum(probs, 1)
    probs = narrow(probs, v.dtype)
    if INTERPRETED:
        probs = probs.to(tl.float32)
        v = v.to(tl.float32)
    acc = tl.dot(probs, v, acc * decay[:, None], input_precision="ieee")
    return acc, new_peak, total


@triton.jit(do_not_specialize=["tokens", "sentences"])
def varlen_attention_kernel(
    qkv, cu_seqlens, tokens, sentences, softmax_scale, out_scale, out, stream,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WINDOW: tl.constexpr,
    QUANTIZE: tl.constexpr, PER_CHANNEL: tl.constexpr, HIDDEN: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    ROW: tl.constexpr = (HEADS + 2 * KV_HEADS) * HEAD_DIM
    sentence, start, length, first = find_tile(cu_seqlens, tokens, sentences, BLOCK_M)
    if first >= length:
        return
    head = tl.program_id(1)
    row = first + tl.arange(0, BLOCK_M)
    dim = tl.arange(0, HEAD_DIM)
    exists = row[:, None] < length
    if sentence == sentences:
        zeros = tl.zeros([BLOCK_M, HEAD_DIM], out.dtype.element_ty)
        out_ptrs = context_ptrs(out, start, first, HEADS, HEAD_DIM, BLOCK_M)
        tl.store(out_ptrs, zeros, mask=exists)
        return

    q_ptr = qkv + start.to(tl.int64) * ROW + head * HEAD_DIM
    k_ptr = q_ptr + HEADS * HEAD_DIM
    if KV_HEADS != HEADS:
        k_ptr += (head // (HEADS // KV_HEADS) - head) * HEAD_DIM
    v_ptr = k_ptr + KV_HEADS * HEAD_DIM
    q = tl.load(q_ptr + row[:, None] * ROW + dim[None, :], mask=exists, other=0.0)
    # numpy has no bf16 to multiply.
    if INTERPRETED:
        q = q.to(tl.float32)
    scale_log2 = softmax_scale * LOG2_E
    acc = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)
    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    begin = 0
    end = length
    if WINDOW is not None:
        begin = tl.maximum(first - WINDOW, 0)
        end = tl.minimum(first + BLOCK_M + WINDOW, length)
    for key in range(begin, end, BLOCK_N):
        acc, peak, total = _attend(
            q, k_ptr + key * ROW, v_ptr + key * ROW, end - key, row - key, acc, peak, total,
            scale_log2, ROW, HEAD_DIM, BLOCK_M, BLOCK_N, WINDOW,
        )  # fmt: skip
    context = acc * (1.0 / total)[:, None]
    # Not above the loop, whose registers these would take.
    out_ptrs = context_ptrs(out, start, first, HEADS, HEAD_DIM, BLOCK_M)
    if QUANTIZE:
        column = (head * HEAD_DIM + dim)[None, :]
        step, inverse = load_scale(out_scale, column, None, HEADS * HEAD_DIM, PER_CHANNEL)
        tl.store(out_ptrs, quantize(context, step, inverse, False), mask=exists)
        if stream is not None:
            lost = tl.sum(context, 1) * 0.0
            place = stream + (start + row).to(tl.int64) * HIDDEN
            tl.store(place, narrow(lost, stream.dtype.element_ty), (row < length) & (lost != lost))
    else:
        tl.store(out_ptrs, narrow(context, out.dtype.element_ty), mask=exists)


def check_packed_qkv(
    qkv: torch.Tensor, cu_seqlens: torch.Tensor, max_seqlen: int, kv_heads: int | None = None
) -> None:
    """Check what both attention kernels take: packed ``qkv`` and the sentences' beginnings.

    The values of ``cu_seqlens`` are not read, which would wait for the device.

    Raises:
        KernelInputError: a shape, a dtype or the head's width is not one the kernels take.
    """
    if kv_heads is None:
        require_shape("qkv", qkv, ("T", 3, "heads", "head_dim"))
    else:
        require_shape("qkv", qkv, ("T", "heads + 2 · kv_heads", "head_dim"))
        heads = qkv.shape[1] - 2 * kv_heads
        if kv_heads < 1 or heads < 1 or heads % kv_heads:
            raise KernelInputError(f"{heads} heads of queries cannot share {kv_heads} of keys.")
    if qkv.shape[-1] not in HEAD_DIMS:
        raise KernelInputError(
            f"qkv has head_dim {qkv.shape[-1]}; the attention kernels take {HEAD_DIMS}."
        )
    require_shape("cu_seqlens", cu_seqlens, ("B + 1",))
    require_dtype("cu_seqlens", cu_seqlens, [torch.int32])
    if cu_seqlens.shape[0] < 2 or max_seqlen < 1:
        raise KernelInputError(
            f"cu_seqlens has {cu_seqlens.shape[0]} entries and max_seqlen is {max_seqlen};"
            " a batch has at least one sentence of one token."
        )


def varlen_attention(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    *,
    scale: float | None = None,
    out_scale: float | torch.Tensor | None = None,
    kv_heads: int | None = None,
    window: int | None = None,
    rows: int = ROWS[0],
    stream: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bidirectional attention within each sentence of a packed batch, in one kernel.

    Args:
        qkv: ``[T, 3, heads, head_dim]`` fp16 or bf16 (fp32 for tests), contiguous: the output of
            the joint projection as it stands. ``head_dim`` is 32, 64 or 128.
        cu_seqlens: ``[B + 1]`` int32 on the same device, from 0, never falling; its last entry is
            T, or less where the batch ends in an unused tail.
        max_seqlen: length of the longest sentence, or any bound on it, at least 1. Other kernels of
            this signature size their grid by it; this one does not need to.
        scale: factor of the scores before the softmax, above 0; ``head_dim ** -0.5`` by default.
        out_scale: scale of an int8 result, above 0, or ``channel_scales`` of one per
            channel; without it the result has ``qkv``'s dtype.
        kv_heads: where given, ``qkv`` is ``[T, heads + 2 · kv_heads, head_dim]``, and each head of
            keys and values serves ``heads / kv_heads`` of the queries'.
        window: how many tokens to each side a token sees; None for the whole sentence. Keys that no
            row of a tile sees are not read, so that the cost is O(T · window).
        rows: of a tile: 128, or 64 for short sentences. One number for all that must agree to the
            last bit.
        stream: ``[T, hidden]``; int8 has no NaN, so where a token's context is infinite or NaN, its
            row here begins with NaN afterwards.

    Returns:
        ``[T, heads, head_dim]``; zeros for tokens of the unused tail.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    check_packed_qkv(qkv, cu_seqlens, max_seqlen, kv_heads)
    require_dtype("qkv", qkv, [torch.float16, torch.bfloat16, torch.float32])
    tile = attention_tile(qkv.shape[-1], qkv.dtype, rows, out_scale is not None)
    return launch_attention(
        qkv, cu_seqlens, tile, scale=scale, out_scale=out_scale, kv_heads=kv_heads, window=window,
        stream=stream,
    )  # fmt: skip


def launch_attention(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    tile: Tile,
    *,
    scale: float | None = None,
    out_scale: float | torch.Tensor | None = None,
    kv_heads: int | None = None,
    window: int | None = None,
    stream: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`varlen_attention` with a tile of the caller's choice, for measurements."""
    tokens, head_dim = qkv.shape[0], qkv.shape[-1]
    heads = qkv.shape[2] if kv_heads is None else qkv.shape[1] - 2 * kv_heads
    require_positive(scale=scale)
    require_scale("out_scale", out_scale, heads * head_dim)
    require_stream(stream, tokens)
    require_device(qkv, cu_seqlens, only_tensor(out_scale), stream)
    sentences = cu_seqlens.shape[0] - 1
    dtype = qkv.dtype if out_scale is None else torch.int8
    out = torch.empty((tokens, heads, head_dim), dtype=dtype, device=qkv.device)
    varlen_attention_kernel[GridRule(tile.block_m, 1, heads).grid(tokens, sentences)](
        qkv, cu_seqlens, tokens, sentences, head_dim**-0.5 if scale is None else scale,
        1.0 if out_scale is None else out_scale, out, stream,
        HEADS=heads, KV_HEADS=kv_heads or heads, HEAD_DIM=head_dim,
        BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, WINDOW=window,
        QUANTIZE=out_scale is not None, PER_CHANNEL=isinstance(out_scale, torch.Tensor),
        HIDDEN=1 if stream is None else stream.shape[1],
        num_warps=tile.num_warps, num_stages=tile.num_stages, maxnreg=tile.max_registers,
        **launch_options(qkv.device),
    )  # fmt: skip
    return out


def varlen_attention_reference(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    *,
    scale: float | None = None,
    out_scale: float | torch.Tensor | None = None,
    kv_heads: int | None = None,
    window: int | None = None,
    rows: int = ROWS[0],
) -> torch.Tensor:
    """:func:`varlen_attention` in plain fp32, whatever ``rows`` is: fp32, or int8 with a scale."""
    check_packed_qkv(qkv, cu_seqlens, max_seqlen, kv_heads)
    context = plain_attention(qkv.float(), cu_seqlens, scale, kv_heads, window)
    if out_scale is None:
        return context
    if isinstance(out_scale, torch.Tensor):
        return quantize_reference(context, out_scale[0].view(context.shape[1:]))
    return quantize_reference(context, out_scale)
