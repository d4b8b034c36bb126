"""What the CUDA engine stores: plain names and arrays (:mod:`xopt.compile.lower_kernels`).

``weights.safetensors`` holds, with ``site`` one of qkv_in, context, ffn_in and ffn_act, and
``linear`` the layer that reads it:

    embeddings.{word,position,type}               [rows, hidden]; word may be int8
    embeddings.word.scale                         [vocabulary], if it is
    {embeddings.norm,layers.N.{attention,ffn}_norm}.{weight,bias}      [hidden]
    layers.N.LINEAR.{weight,bias}                 [out, in] fp16 or int8, [out]
    layers.N.LINEAR.weight.scale                  [out], if int8
    layers.N.SITE.scale                           [], of the site's int8 values
    layers.N.SITE.steps                           [in], scale · SmoothQuant's divisor, if smoothed
    layers.N.qkv_out.scale                        [3 · hidden], if attention is quantized
    head.{dense,output}.{weight,bias}             fp32

``engine.json`` holds the few numbers that are no arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import ArtifactError, UnsupportedError, require

__all__ = ["FACTS", "HEAD_DIMS", "TENSORS", "read_facts", "write_weights"]

FACTS = "engine.json"
TENSORS = "weights.safetensors"
FORMAT = 1
# What the attention kernels take; they say so too, but cannot be imported without Triton.
HEAD_DIMS = (32, 64, 128)

Array = NDArray[Any]


def read_facts(folder: Path) -> dict[str, Any]:
    """The page that :func:`write_weights` wrote.

    Raises:
        ArtifactError: another version of xopt wrote it.
    """
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder} has CUDA weights of format {facts.get('format')}; this xopt reads {FORMAT}.",
            hint="Build it again with this version of xopt.",
        )
    return facts


def write_weights(tensors: Mapping[str, Array], facts: Mapping[str, Any], out: Path) -> None:
    """Write both files.

    Args:
        tensors: by the names above.
        facts: ``layers``, ``heads``, ``hidden``, ``epsilon`` and ``head``.
        out: an existing folder.

    Raises:
        UnsupportedError: the kernels do not take this head size.
    """
    head_dim = facts["hidden"] // facts["heads"]
    if head_dim not in HEAD_DIMS:
        raise UnsupportedError(
            f"This encoder's attention heads have {head_dim} dimensions; the CUDA kernels take "
            f"{', '.join(map(str, HEAD_DIMS))}.",
            hint="Build it for the CPU: xopt build --target cpu",
        )
    numpy_files = require("safetensors.numpy", extra="cuda", why="Building for CUDA")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # What is 0-dimensional must stay so.
    shaped = {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    numpy_files.save_file(shaped, out / TENSORS)
    text = json.dumps({"format": FORMAT, **facts}, indent=1) + "\n"
    (out / FACTS).write_text(text, encoding="utf-8")
