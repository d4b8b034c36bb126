"""What the CUDA engine stores: plain names and arrays (:mod:`xopt.compile.lower_kernels`).

``weights.safetensors`` holds, with ``site`` one of qkv_in, context, ffn_in and ffn_act, and
``linear`` the layer that reads it:

    embeddings.{word,position,type}               [rows, hidden]; word may be int8, and position
                                                  missing where positions are rotary
    embeddings.word.scale                         [vocabulary], if it is
    {embeddings.norm,layers.N.{attention,ffn}_norm,final_norm}.{weight,bias}      [hidden]; any
                                                  may be missing
    rotary.N.{cos,sin}                            [positions, head_dim / 2]
    layers.N.LINEAR.{weight,bias}                 [out, in] fp16 or int8, [out]; qkv is all three
                                                  and ffn_in of a gated part both halves
    layers.N.LINEAR.weight.scale                  [out], if int8
    layers.N.SITE.scale                           [], of the site's int8 values
    layers.N.SITE.steps                           [in], scale · SmoothQuant's divisor, if smoothed
    layers.N.qkv_out.scale                        [3 · hidden], if attention is quantized
    head.{dense,norm,output}.{weight,bias}        fp32

``engine.json`` holds the few numbers that are no arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import ArtifactError, UnsupportedError, require

__all__ = ["FACTS", "HEAD_DIMS", "TENSORS", "Facts", "read_facts", "write_weights"]

FACTS = "engine.json"
TENSORS = "weights.safetensors"
# Of the block of BERT, and of every other.
FORMATS = (1, 2)
# What the attention kernels take; they say so too, but cannot be imported without Triton.
HEAD_DIMS = (32, 64, 128)

Array = NDArray[Any]


@dataclass(frozen=True)
class Facts:
    """What is no array; the page holds what differs from the block of BERT.

    Attributes:
        layers: that run.
        heads: of the queries.
        hidden: width of the states.
        head: its manifest.
        epsilon: of the norms.
        kv_heads: of keys and values; None for ``heads``.
        head_dim: of one head; None for ``hidden / heads``.
        scale: of the scores; None for ``head_dim ** -0.5``.
        pre: whether norms stand in front of each part.
        rms: whether norms are RMSNorm.
        gate: the activation of a gated part; None where it is GELU alone.
        turns: the table of rotary positions of each layer; None for none.
        turns_values: whether values are rotated as well.
        windows: how far a token sees in each layer; None for the whole sentence.
        form: of the head, where it is not BERT's.
    """

    layers: int
    heads: int
    hidden: int
    head: dict[str, Any]
    epsilon: float
    kv_heads: int | None = None
    head_dim: int | None = None
    scale: float | None = None
    pre: bool = False
    rms: bool = False
    gate: str | None = None
    turns: tuple[int | None, ...] = ()
    turns_values: bool = False
    windows: tuple[int | None, ...] = ()
    form: dict[str, Any] | None = None

    @property
    def shared(self) -> int:
        """Heads of keys, and of values."""
        return self.kv_heads or self.heads

    @property
    def width(self) -> int:
        """Of one head."""
        return self.head_dim or self.hidden // self.heads


def read_facts(folder: Path) -> Facts:
    """The page that :func:`write_weights` wrote.

    Raises:
        ArtifactError: another version of xopt wrote it.
    """
    page: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    found = page.pop("format", None)
    if found not in FORMATS:
        raise ArtifactError(
            f"{folder} has CUDA weights of format {found}; this xopt reads "
            f"{' and '.join(map(str, FORMATS))}.",
            hint="Build it again with this version of xopt.",
        )
    return Facts(**page)


def write_weights(tensors: Mapping[str, Array], facts: Facts, out: Path) -> None:
    """Write both files.

    Args:
        tensors: by the names above.
        facts: of the encoder.
        out: an existing folder.

    Raises:
        UnsupportedError: the kernels do not take this head size.
    """
    if facts.width not in HEAD_DIMS:
        raise UnsupportedError(
            f"This encoder's attention heads have {facts.width} dimensions; the CUDA kernels take "
            f"{', '.join(map(str, HEAD_DIMS))}.",
            hint="Build it for the CPU: xopt build CHECKPOINT --target cpu",
        )
    numpy_files = require("safetensors.numpy", extra="cuda", why="Building for CUDA")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # What is 0-dimensional must stay so.
    shaped = {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    numpy_files.save_file(shaped, out / TENSORS)
    plain = {item.name: item.default for item in fields(facts)}
    page = {name: value for name, value in asdict(facts).items() if value != plain[name]}
    beyond = any(plain[name] is not MISSING for name in page)
    text = json.dumps({"format": FORMATS[beyond], **page}, indent=1) + "\n"
    (out / FACTS).write_text(text, encoding="utf-8")
