"""The sparse head of bge-m3 (Chen et al., 2024): a weight for each token beside the embedding.

``relu(W h + b)`` of the last states. Its users call the weights lexical: a text's weight of a token
is the largest of those at its places, and special tokens have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.compile.head_spec import Head
from xopt.compile.tokens import TokenizerFile
from xopt.compile.weight_files import read_tensors
from xopt.encoders.spec import EncoderSpec
from xopt.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from xopt.packing import Encoding

__all__ = ["FILE", "reference_weights", "sparse_state", "with_sparse"]

# What holds it beside the encoder; the checkpoint's own repository has a pickle of this name.
FILE = "sparse_linear.safetensors"


def with_sparse(
    folder: Path, head: Head, config: EncoderSpec, tokenizer: TokenizerFile
) -> tuple[Head, tuple[Path, ...]]:
    """The head with token weights where the folder has them for it, and the file that was found.

    Another layer than the last has none: the weights were learned for that one.
    """
    path = folder / FILE
    if head.kind != "embed" or head.layer not in (None, config.layers) or not path.is_file():
        return head, ()
    return replace(head, sparse=tokenizer.special_ids), (path,)


def sparse_state(path: Path, hidden: int) -> dict[str, torch.Tensor]:
    """The layer's weight ``[1, hidden]`` and bias ``[1]``, by our names.

    Raises:
        CheckpointError: the file holds something else.
    """
    found = dict(read_tensors([path]))
    shapes = {"weight": (1, hidden), "bias": (1,)}
    if {name: tuple(value.shape) for name, value in found.items()} != shapes:
        raise CheckpointError(
            f"{path} holds {', '.join(f'{n} {list(v.shape)}' for n, v in found.items())}; the "
            f"sparse head of this encoder is weight [1, {hidden}] and bias [1]."
        )
    return {f"token_weights.{name}": value for name, value in found.items()}


def reference_weights(model: Any, path: Path, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
    """``[T, 1]``: what transformers' states give, each text alone.

    Args:
        model: of transformers, whose first output are the last states.
        path: of the head.
        encodings: of the texts.
    """
    import torch
    import torch.nn.functional as F

    state = sparse_state(path, int(model.config.hidden_size))
    weight, bias = (state[f"token_weights.{name}"] for name in ("weight", "bias"))
    found = []
    with torch.inference_mode():
        for encoding in encodings:
            ids = torch.from_numpy(encoding.ids).long()[None]
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0][0]
            found.append(F.relu(F.linear(states, weight, bias)).numpy())
    return np.concatenate(found)
