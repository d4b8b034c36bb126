"""From a checkpoint's tensor names to the packed encoder's: nothing unset, nothing unused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from xopt.compile.checkpoint import ARCHITECTURES, Checkpoint
from xopt.errors import CheckpointError, require

if TYPE_CHECKING:
    import torch

__all__ = ["encoder_weights"]

LAYER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn_in",
    "output.dense": "ffn_out",
    "output.LayerNorm": "ffn_norm",
}

POSITIONS = r"embeddings\.position_ids"
POOLER = r"pooler\.dense\.(weight|bias)"

# Tensors a checkpoint of this head may carry and the head does not read.
IDLE = {
    "classify": [POSITIONS],
    "tag": [POSITIONS, POOLER],
    "span": [POSITIONS, POOLER],
    "embed": [POSITIONS, POOLER, r"lm_head\..*", r"cls\.(predictions|seq_relationship)\..*"],
}


def encoder_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The state of :class:`~xopt.compile.packed_encoder.PackedEncoder`, fp32, memory-mapped.

    Raises:
        CheckpointError: a file is truncated; a weight is missing, unused or of another shape. Each
            is listed.
    """
    expected = _expected(checkpoint)
    idle = [re.compile(pattern) for pattern in IDLE[checkpoint.head.kind]]
    if checkpoint.config.model_type != "bert":
        # Its classifier has a dense layer of its own; a pooler may lie beside it, unread.
        idle.append(re.compile(POOLER))
    for layer in range(checkpoint.depth, checkpoint.config.layers):
        idle.append(re.compile(rf"encoder\.layer\.{layer}\..*"))
    found: dict[str, torch.Tensor] = {}
    unused: list[str] = []
    prefix = ARCHITECTURES[checkpoint.config.model_type][1]
    for name, tensor in _read(checkpoint.weight_files):
        plain = _today(name.removeprefix(prefix))
        target = expected.get(plain) or expected.get(name)
        if target is not None:
            found[target] = tensor
        elif not any(pattern.fullmatch(plain) for pattern in idle):
            unused.append(name)
    unset = sorted(plain for plain, target in expected.items() if target not in found)
    if unset or unused:
        raise CheckpointError(
            f"The weights of {checkpoint.folder} do not fit its config.json.\n"
            f"  unset ({len(unset)}): {', '.join(unset) or 'none'}\n"
            f"  unused ({len(unused)}): {', '.join(sorted(unused)) or 'none'}",
            hint="Check `architectures`, `num_hidden_layers` and `type_vocab_size` in config.json.",
        )
    return found


def _today(name: str) -> str:
    """Checkpoints converted from TensorFlow call LayerNorm's weight gamma and its bias beta."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def _read(files: Iterable[Path]) -> Iterable[tuple[str, torch.Tensor]]:
    safetensors = require("safetensors", extra="build", why="Reading a checkpoint")
    for path in files:
        try:
            with safetensors.safe_open(str(path), framework="pt") as stream:
                for name in stream.keys():  # noqa: SIM118  (safe_open is no mapping)
                    tensor: torch.Tensor = stream.get_tensor(name)
                    yield name, tensor.float() if tensor.is_floating_point() else tensor
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is no readable safetensors file: {error}.",
                hint="It may be truncated: download or copy it again.",
            ) from error


def _expected(checkpoint: Checkpoint) -> dict[str, str]:
    """Checkpoint name (without the encoder's prefix) -> name in the packed encoder."""
    names = {
        "embeddings.word_embeddings.weight": "embeddings.word.weight",
        "embeddings.position_embeddings.weight": "embeddings.position.weight",
        "embeddings.token_type_embeddings.weight": "embeddings.token_type.weight",
    }
    for part in ("weight", "bias"):
        names[f"embeddings.LayerNorm.{part}"] = f"embeddings.norm.{part}"
        for layer in range(checkpoint.depth):
            for theirs, ours in LAYER.items():
                names[f"encoder.layer.{layer}.{theirs}.{part}"] = f"layers.{layer}.{ours}.{part}"
        for theirs, ours in _head_modules(checkpoint).items():
            names[f"{theirs}.{part}"] = f"head.{ours}.{part}"
    return names


def _head_modules(checkpoint: Checkpoint) -> dict[str, str]:
    match checkpoint.head.kind:
        case "classify" if checkpoint.config.model_type == "bert" or checkpoint.is_choice:
            return {"pooler.dense": "dense", "classifier": "output"}
        case "classify":
            return {"classifier.dense": "dense", "classifier.out_proj": "output"}
        case "tag":
            return {"classifier": "output"}
        case "span":
            return {"qa_outputs": "output"}
        case _:
            return {}
