"""Attention and linear layers as the ahead-of-time compiler takes them; see :mod:`.spec`."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import triton

from xopt.engines.kernels.attention import (
    HEAD_DIMS,
    TRITON_TYPES,
    varlen_attention_kernel,
)
from xopt.engines.kernels.attention_int8 import (
    PROBS_SCALE,
    varlen_attention_int8_kernel,
)
from xopt.engines.kernels.attention_tiles import REGISTERS, attention_int8_tile, attention_tile
from xopt.engines.kernels.checks import KernelInputError
from xopt.engines.kernels.linear import linear_int8_kernel
from xopt.engines.kernels.linear_tiles import linear_int8_tile
from xopt.engines.kernels.spec import GridRule, KernelSpec
from xopt.engines.kernels.tiles import Tile

__all__ = ["attention_int8_specs", "attention_specs", "linear_int8_specs"]


def attention_specs(
    *,
    heads: int,
    head_dim: int,
    dtype: str = "fp16",
    scale: float | None = None,
    kv_heads: int | None = None,
    window: int | None = None,
) -> list[KernelSpec]:
    """The attention kernel for the ahead-of-time compiler, tiles from the largest down.

    Args:
        heads: number of heads.
        head_dim: 32, 64 or 128.
        dtype: ``"fp16"`` or ``"bf16"``.
        scale: as for :func:`varlen_attention`; baked into the code, as the next two are.
        kv_heads: of keys and values; ``heads`` by default.
        window: how many tokens to each side a token sees; None for all.
    """
    if dtype not in TRITON_TYPES or head_dim not in HEAD_DIMS:
        raise KernelInputError(
            f"There is no attention kernel for {dtype} with head_dim {head_dim}.",
            hint=f"dtype is one of {sorted(TRITON_TYPES)}, head_dim one of {HEAD_DIMS}.",
        )
    # Behind the largest tile those that stay below 48 KiB of shared memory.
    if head_dim == 128:
        smaller = [
            Tile(64, 16, num_warps=4, num_stages=2),
            Tile(64, 32, num_warps=4, num_stages=1),
        ]
    else:
        smaller = [
            Tile(128, 64, num_warps=8, num_stages=2, max_registers=REGISTERS),
            attention_tile(head_dim, TRITON_TYPES[dtype], 64),
        ]
    tiles = [attention_tile(head_dim, TRITON_TYPES[dtype]), *smaller]
    return _attention_specs(
        tiles,
        name="varlen_attention",
        function=varlen_attention_kernel,
        inputs={"qkv": f"*{dtype}", "cu_seqlens": "*i32"},
        outputs={"out": f"*{dtype}"},
        constants={
            "softmax_scale": 1.0 / math.sqrt(head_dim) if scale is None else scale,
            "out_scale": 1.0,
            "HEADS": heads,
            "KV_HEADS": heads if kv_heads is None else kv_heads,
            "HEAD_DIM": head_dim,
            "WINDOW": window,
            "QUANTIZE": False,
            "stream": None,
            "HIDDEN": 1,
        },
    )


def attention_int8_specs(
    *,
    heads: int,
    head_dim: int,
    per_head: bool = False,
    scale: float | None = None,
    probs_scale: float = PROBS_SCALE,
    out_scale: float | None = None,
    out_dtype: str = "fp16",
) -> list[KernelSpec]:
    """The INT8 attention kernel for the ahead-of-time compiler, tiles from the largest down.

    ``qkv_scale`` stays an input; the other scales, as for :func:`varlen_attention_int8`, are baked
    into the code.
    """
    if head_dim not in HEAD_DIMS:
        raise KernelInputError(f"head_dim is one of {HEAD_DIMS}, not {head_dim}.")
    tiles = [attention_int8_tile(head_dim)]
    if head_dim <= 64:
        tiles += [
            Tile(128, 32, num_warps=8, num_stages=3, max_registers=REGISTERS),
            attention_int8_tile(head_dim, 64),
        ]
    return _attention_specs(
        tiles,
        name="varlen_attention_int8",
        function=varlen_attention_int8_kernel,
        inputs={"qkv": "*i8", "cu_seqlens": "*i32", "qkv_scale": "*fp32"},
        outputs={"out": f"*{out_dtype}" if out_scale is None else "*i8"},
        constants={
            "softmax_scale": head_dim**-0.5 if scale is None else scale,
            "probs_scale": probs_scale,
            "out_scale": 1.0 if out_scale is None else out_scale,
            "HEADS": heads,
            "HEAD_DIM": head_dim,
            "PER_HEAD": per_head,
            "QUANTIZE": out_scale is not None,
        },
    )


def _attention_specs(
    tiles: Sequence[Tile], *, constants: dict[str, Any], **kernel: Any
) -> list[KernelSpec]:
    """Either attention kernel, a description for each tile."""
    return [
        KernelSpec(
            **kernel,
            scalars={"tokens": "i32", "sentences": "i32"},
            constants={
                **constants,
                "BLOCK_M": tile.block_m,
                "BLOCK_N": tile.block_n,
                "PER_CHANNEL": False,
            },
            grid=GridRule(tile.block_m, per_sentence=1, columns=constants["HEADS"]),
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
            max_registers=tile.max_registers,
            multiplies=True,
        )
        for tile in tiles
    ]


def linear_int8_specs(
    *,
    out_features: int,
    in_features: int,
    x_scale: float,
    gelu: bool = False,
    out_scale: float | None = None,
    out_dtype: str = "fp16",
) -> list[KernelSpec]:
    """The kernel for the ahead-of-time compiler, tiles from the largest down; ``bias`` is fp32."""
    tiles = [
        linear_int8_tile(8192),
        Tile(128, 128, num_warps=8, num_stages=2, block_k=64, max_registers=REGISTERS),
        Tile(64, 64, num_warps=4, num_stages=3, block_k=64),
    ]
    return [
        KernelSpec(
            name="linear_int8",
            function=linear_int8_kernel,
            inputs={"x": "*i8", "weight": "*i8", "weight_scale": "*fp32", "bias": "*fp32"},
            scalars={"tokens": "i32"},
            outputs={"out": f"*{out_dtype}" if out_scale is None else "*i8"},
            constants={
                "x_scale": x_scale,
                "out_scale": 1.0 if out_scale is None else out_scale,
                "OUT_FEATURES": out_features,
                "IN_FEATURES": in_features,
                "BLOCK_M": tile.block_m,
                "BLOCK_N": tile.block_n,
                "BLOCK_K": tile.block_k,
                "GELU": gelu,
                "QUANTIZE": out_scale is not None,
                "PER_CHANNEL": False,
                "PARTS": 1,
                "sums": None,
                "arrivals": None,
            },
            grid=GridRule(tile.block_m, columns=triton.cdiv(out_features, tile.block_n)),
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
            max_registers=tile.max_registers,
            multiplies=True,
        )
        for tile in tiles
    ]
