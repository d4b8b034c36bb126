"""What to do about a file of a checkpoint that is not what its name says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.errors import CheckpointError


@pytest.fixture
def folder(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(), tmp_path / "checkpoint"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_what_git_lfs_left_is_told(folder: Path, name: str) -> None:
    (folder / name).write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 471\n"
    )
    with pytest.raises(CheckpointError, match="no readable") as caught:
        PackedEncoder.load(Checkpoint.open(folder))
    assert "git lfs pull" in caught.value.hint
