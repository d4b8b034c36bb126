"""Weights that are no numbers are refused, also where no text of a check would read them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.weights import encoder_state
from xopt.errors import CheckpointError


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_one_value_that_is_no_number_is_named(
    make_checkpoint: Callable[..., Path], tmp_path: Path, bad: float, kind: torch.dtype
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint(), folder)
    tensors = {
        name: value.to(kind) for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    encoder_state(Checkpoint.open(folder))
    name = next(name for name in tensors if "word_embeddings" in name)
    # The row of a piece that the texts of the parity check may not have.
    tensors[name][-1, 5] = bad
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"word.*: NaN or infinite") as caught:
        encoder_state(Checkpoint.open(folder))
    assert "download it again" in caught.value.hint
