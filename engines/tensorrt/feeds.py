"""What a graph lowered for TensorRT reads, made from a packed batch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.errors import ArtifactError
from xopt.forms import reads
from xopt.packing import MASKED, PackedBatch

__all__ = ["INDEX_TYPE", "described", "input_names", "tensorrt_arrays"]

# Of ids and indices; an engine's facts say so, since one that reads int64 would read past them.
INDEX_TYPE = "int32"


def described(bundle: Bundle) -> AbstractContextManager[None]:
    """Around what reads the engine's part of a bundle's manifest.

    Raises:
        ArtifactError: where that has another form.
    """
    return reads(f"{bundle.folder}: its manifest does not describe its engine")


def input_names(bundle: Bundle) -> list[str]:
    """What a bundle's engine reads.

    Raises:
        ArtifactError: its manifest does not say, or the engine reads indices of another type.
    """
    with described(bundle):
        facts = bundle.manifest["engine"]
        names, found = list(facts["inputs"]), facts.get("indices", "int64")
    if found != INDEX_TYPE:
        raise ArtifactError(
            f"{bundle.folder}: its engine reads ids as {found}; this xopt gives {INDEX_TYPE}.",
            hint="Build it again with this version of xopt.",
        )
    return names


def tensorrt_arrays(batch: PackedBatch, window: int | None = None) -> dict[str, NDArray[Any]]:
    """Every array by its name in the graph.

    Indices have a last axis of 1 because an index shaped inside of the graph makes TensorRT's
    gather a scalar kernel.

    Args:
        batch: of which they are made.
        window: how far a token sees to each side in layers that do not see the whole text; adds
            ``window_mask``, ``[1, 1, S, S]`` float16.

    Returns:
        ``input_ids``, ``position_ids`` and ``token_type_ids`` ``[T]``, ``pad_index`` ``[B, S, 1]``,
        ``unpad_index`` ``[T, 1]``, ``first_index`` ``[B, 1]``, all int32, and ``attention_bias``
        ``[B, 1, 1, S]`` float16, and, for attention as our own plugin, ``cu_seqlens`` ``[B + 1]``
        int32; ``prompt_tokens`` ``[B, 1]`` int32 where the prompt is left out of the pooling.
    """
    windows = {} if window is None else {"window_mask": _window_mask(batch.slots, window)}
    return windows | {
        "input_ids": batch.input_ids.astype(np.int32, copy=False),
        "position_ids": batch.position_ids.astype(np.int32, copy=False),
        "token_type_ids": batch.token_type_ids.astype(np.int32, copy=False),
        "pad_index": batch.pad_index.astype(np.int32, copy=False)[:, :, None],
        "unpad_index": batch.unpad_index.astype(np.int32, copy=False)[:, None],
        "attention_bias": batch.attention_bias.astype(np.float16),
        "first_index": batch.cu_seqlens[:-1].astype(np.int32, copy=False)[:, None],
        "cu_seqlens": batch.cu_seqlens,
        "prompt_tokens": batch.prompt_tokens.astype(np.int32, copy=False)[:, None],
    }


def _window_mask(slots: int, window: int) -> NDArray[np.float16]:
    places = np.arange(slots, dtype=np.int32)
    far = np.abs(places[:, None] - places[None, :]) > window
    return np.where(far, np.float16(MASKED), np.float16(0))[None, None]
