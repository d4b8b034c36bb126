"""A tokenizer that cuts words by code in Python is refused, whatever its tokenizer.json holds."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import tokenizers
from tests.encoders.families import save

from xopt.compile.checkpoint import Checkpoint
from xopt.errors import CheckpointError


def roformer(folder: Path, tokenizer_class: str | None) -> Path:
    """As RoFormer's first checkpoints: words of a vocabulary, cut by jieba."""
    save(folder, "RoFormer", "embed", hidden_size=32, num_attention_heads=2, num_hidden_layers=1,
         intermediate_size=48, max_position_embeddings=64)  # fmt: skip
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "今", "天", "今天"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    facts = {"tokenizer_class": tokenizer_class, "pad_token": "[PAD]", "unk_token": "[UNK]"}
    kept = {name: value for name, value in facts.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    return folder


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("tokenizer_class", ["RoFormerTokenizer", None])
def test_words_that_jieba_cuts(
    installed: bool, tokenizer_class: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in the table of modules is an ImportError.
    module = types.ModuleType("rjieba") if installed else None
    monkeypatch.setitem(sys.modules, "rjieba", module)
    with pytest.raises(CheckpointError, match="cuts words by code in Python") as caught:
        Checkpoint.open(roformer(tmp_path, tokenizer_class))
    assert "PreTrainedTokenizerFast" in caught.value.hint


def test_another_tokenizer_of_the_same_encoder(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(roformer(tmp_path, "PreTrainedTokenizerFast"))
    assert checkpoint.tokenizer.facts["class"] != "RoFormerTokenizer"
