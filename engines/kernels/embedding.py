"""The sum of word, position and type embeddings with its LayerNorm, in one pass."""

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
from xopt.engines.kernels.layer_norm import (
    FLOATS,
    ROW_WARPS,
    layer_norm_row,
    layer_norm_row_reference,
)
from xopt.engines.kernels.rounding import narrow, quantize_reference, scale_of
from xopt.engines.kernels.spec import GridRule, KernelSpec

__all__ = [
    "embed_layer_norm",
    "embed_layer_norm_int8",
    "embed_layer_norm_int8_reference",
    "embed_layer_norm_reference",
    "embed_layer_norm_specs",
]


@triton.jit
def _embed_layer_norm_kernel(
    input_ids, position_ids, type_ids, words, positions, types, weight, bias, word_scale, eps,
    out_scale, out, out_int8,
    HIDDEN: tl.constexpr, BLOCK: tl.constexpr, PER_CHANNEL: tl.constexpr,
    DEPENDENT: tl.constexpr,
):  # fmt: skip
    follow(DEPENDENT)
    token = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    exists = column < HIDDEN
    word = tl.load(input_ids + token).to(tl.int64)
    position = 0
    if positions is not None:
        position = tl.load(position_ids + token).to(tl.int64)
    kind = tl.load(type_ids + token).to(tl.int64)
    x = tl.load(words + word * HIDDEN + column, mask=exists, other=0.0).to(tl.float32)
    if word_scale is not None:
        x *= tl.load(word_scale + word)
    x += tl.load(types + kind * HIDDEN + column, mask=exists, other=0.0).to(tl.float32)
    if positions is not None:
        x += tl.load(positions + position * HIDDEN + column, mask=exists, other=0.0).to(tl.float32)
    if weight is not None:
        layer_norm_row(
            x, weight, bias, eps, out_scale, out, out_int8, HIDDEN, BLOCK, PER_CHANNEL, False
        )
    else:
        place = token.to(tl.int64) * HIDDEN + column
        tl.store(out + place, narrow(x, out.dtype.element_ty), mask=exists)


def embed_layer_norm(
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    words: torch.Tensor,
    positions: torch.Tensor | None,
    types: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    *,
    word_scale: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """``LayerNorm(words[i] + types[t] + positions[p]) * weight + bias``, computed in fp32.

    Args:
        input_ids: ``[T]`` int32 rows of ``words``. That the rows exist is not checked: reading the
            values would wait for the device.
        position_ids: ``[T]`` int32 rows of ``positions``, not checked.
        token_type_ids: ``[T]`` int32 rows of ``types``, not checked.
        words: ``[vocabulary, hidden]`` fp16, bf16 or fp32, contiguous; int8 with ``word_scale``.
        positions: ``[max_positions, hidden]``, as ``words``; None for none.
        types: ``[type_vocabulary, hidden]``, as ``words``.
        weight: ``[hidden]``, fp16, bf16 or fp32, contiguous; None for the sum without a norm.
        bias: ``[hidden]``, fp16, bf16 or fp32, contiguous; None for none.
        eps: added to the variance, above 0.
        word_scale: ``[vocabulary]`` fp32, the scale of each int8 row of ``words``.
        out_dtype: fp16, bf16 or fp32; that of ``types`` by default.

    Returns:
        ``[T, hidden]``.

    Raises:
        UnsupportedError: the device cannot run the kernel.
        KernelInputError: an argument is not as described.
    """
    ids = (input_ids, position_ids, token_type_ids)
    tables = (words, positions, types)
    out, _ = _launch(ids, tables, weight, bias, word_scale, eps, None, out_dtype)
    return out


def embed_layer_norm_int8(
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    words: torch.Tensor,
    positions: torch.Tensor | None,
    types: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor,
    *,
    word_scale: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`embed_layer_norm`, and the same rows quantized for an INT8 matrix product.

    Args:
        out_scale: scale of the int8 result, above 0, or ``channel_scales`` of one per channel; the
            rest as for :func:`embed_layer_norm`.

    Returns:
        ``[T, hidden]``, and ``[T, hidden]`` int8, rounded from fp32.
    """
    ids = (input_ids, position_ids, token_type_ids)
    tables = (words, positions, types)
    out, out_int8 = _launch(ids, tables, weight, bias, word_scale, eps, out_scale, out_dtype)
    assert out_int8 is not None
    return out, out_int8


def _launch(
    ids: tuple[torch.Tensor, ...],
    tables: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    word_scale: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor | None,
    out_dtype: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    names = ("input_ids", "position_ids", "token_type_ids")
    types = tables[2]
    tokens, hidden = ids[0].numel(), types.shape[-1]
    for name, index in zip(names, ids, strict=True):
        require_shape(name, index, (tokens,))
        require_dtype(name, index, [torch.int32])
    for name, table in zip(("words", "positions", "types"), tables, strict=True):
        if table is None:
            continue
        require_shape(name, table, ("rows", hidden))
        if name == "words" and word_scale is not None:
            require_dtype(name, table, [torch.int8])
            require_shape("word_scale", word_scale, (table.shape[0],))
            require_dtype("word_scale", word_scale, [torch.float32])
        else:
            require_dtype(name, table, FLOATS)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None:
            require_shape(name, vector, (hidden,))
            require_dtype(name, vector, FLOATS)
    require_positive(eps=eps)
    require_scale("out_scale", out_scale, hidden)
    require_device(*ids, *tables, weight, bias, word_scale, only_tensor(out_scale))
    dtype = out_dtype or types.dtype
    out = torch.empty((tokens, hidden), dtype=dtype, device=types.device)
    out_int8 = None if out_scale is None else torch.empty_like(out, dtype=torch.int8)
    if tokens:
        _embed_layer_norm_kernel[(tokens,)](
            *ids, *tables, weight, bias, word_scale, eps,
            1.0 if out_scale is None else out_scale, out, out_int8,
            HIDDEN=hidden, BLOCK=triton.next_power_of_2(hidden),
            PER_CHANNEL=isinstance(out_scale, torch.Tensor), num_warps=ROW_WARPS,
            **launch_options(types.device),
        )  # fmt: skip
    return out, out_int8


def embed_layer_norm_reference(
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    words: torch.Tensor,
    positions: torch.Tensor | None,
    types: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    *,
    word_scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """What :func:`embed_layer_norm` computes; fp32 ``[T, hidden]``."""
    rows = words[input_ids.long()].float()
    if word_scale is not None:
        rows = rows * word_scale[input_ids.long(), None]
    total = rows + types[token_type_ids.long()].float()
    if positions is not None:
        total = total + positions[position_ids.long()].float()
    return total if weight is None else layer_norm_row_reference(total, weight, bias, eps)


def embed_layer_norm_int8_reference(
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    words: torch.Tensor,
    positions: torch.Tensor | None,
    types: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    eps: float,
    out_scale: float | torch.Tensor,
    *,
    word_scale: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`embed_layer_norm_int8` computes; fp32 and int8 ``[T, hidden]``."""
    out = embed_layer_norm_reference(
        input_ids,
        position_ids,
        token_type_ids,
        words,
        positions,
        types,
        weight,
        bias,
        eps,
        word_scale=word_scale,
    )
    return out, quantize_reference(out, scale_of(out_scale))


def embed_layer_norm_specs(
    *, hidden: int, dtype: str = "fp16", eps: float = 1e-5, out_scale: float | None = None
) -> list[KernelSpec]:
    """The kernel for the ahead-of-time compiler; all tables in ``dtype``.

    With ``out_scale`` the kernel has a second, int8 output.
    """
    pointer = f"*{dtype}"
    constants = {
        "word_scale": None,
        "eps": eps,
        "out_scale": 1.0 if out_scale is None else out_scale,
        "HIDDEN": hidden,
        "BLOCK": triton.next_power_of_2(hidden),
        "PER_CHANNEL": False,
    }
    tables = ("words", "positions", "types", "weight", "bias")
    return [
        KernelSpec(
            name="embed_layer_norm",
            function=_embed_layer_norm_kernel,
            inputs={
                **dict.fromkeys(("input_ids", "position_ids", "type_ids"), "*i32"),
                **dict.fromkeys(tables, pointer),
            },
            scalars={},
            outputs={"out": pointer} if out_scale is None else {"out": pointer, "out_int8": "*i8"},
            constants={**constants, "out_int8": None} if out_scale is None else constants,
            grid=GridRule(block=1),
            num_warps=ROW_WARPS,
            num_stages=1,
            multiplies=False,
        )
    ]
