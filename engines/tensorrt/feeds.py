"""What a graph lowered for TensorRT reads, made from a packed batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.packing import MASKED, PackedBatch

__all__ = ["tensorrt_arrays"]


def tensorrt_arrays(batch: PackedBatch, window: int | None = None) -> dict[str, NDArray[Any]]:
    """Every array by its name in the graph.

    Indices are int64 because ONNX's GatherND takes no other, and have a last axis of 1 because an
    index shaped inside of the graph makes TensorRT's gather a scalar kernel.

    Args:
        batch: of which they are made.
        window: how far a token sees to each side in layers that do not see the whole text; adds
            ``window_mask``, ``[1, 1, S, S]`` float16.

    Returns:
        ``input_ids``, ``position_ids`` and ``token_type_ids`` ``[T]``, ``pad_index`` ``[B, S, 1]``,
        ``unpad_index`` ``[T, 1]``, ``first_index`` ``[B, 1]``, all int64, and ``attention_bias``
        ``[B, 1, 1, S]`` float16, and, for attention as our own plugin, ``cu_seqlens`` ``[B + 1]``
        int32; ``prompt_tokens`` ``[B, 1]`` int64 where the prompt is left out of the pooling.
    """
    windows = {} if window is None else {"window_mask": _window_mask(batch.longest, window)}
    return windows | {
        "input_ids": batch.input_ids.astype(np.int64),
        "position_ids": batch.position_ids.astype(np.int64),
        "token_type_ids": batch.token_type_ids.astype(np.int64),
        "pad_index": batch.pad_index.astype(np.int64)[:, :, None],
        "unpad_index": batch.unpad_index.astype(np.int64)[:, None],
        "attention_bias": batch.attention_bias.astype(np.float16),
        "first_index": batch.cu_seqlens[:-1].astype(np.int64)[:, None],
        "cu_seqlens": batch.cu_seqlens,
        "prompt_tokens": batch.prompt_tokens.astype(np.int64)[:, None],
    }


def _window_mask(longest: int, window: int) -> NDArray[np.float16]:
    places = np.arange(longest, dtype=np.int32)
    far = np.abs(places[:, None] - places[None, :]) > window
    return np.where(far, np.float16(MASKED), np.float16(0))[None, None]
