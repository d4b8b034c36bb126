"""A tokenizer made of a vocabulary alone; special tokens without a row, or named in a text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tests.compile.token_folders import assert_same_tokens, corpus

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.token_library import Library, convert
from xopt.compile.tokens import read_tokenizer
from xopt.errors import CheckpointError
from xopt.tokenization import Tokenizer

CheckpointFactory = Callable[..., Path]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_model_alone_builds_and_is_composed(
    tmp_path: Path, make_checkpoint: CheckpointFactory, kind: str
) -> None:
    pieces = pytest.importorskip("sentencepiece")
    (tmp_path / "texts").write_text("\n".join(corpus()[::2]), encoding="utf-8")
    pieces.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"), model_prefix=str(tmp_path / "sp"), vocab_size=3000,
        hard_vocab_limit=False, minloglevel=2, model_type=kind,
    )  # fmt: skip
    raw = (tmp_path / "sp.model").read_bytes()
    folder = make_checkpoint("xlm-roberta", vocab_size=3010)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    (folder / "spiece.model").write_bytes(raw)
    # transformers would make a tokenizer of five tokens, and say nothing.
    with pytest.raises(CheckpointError, match=r"lacks sentencepiece\.bpe\.model"):
        Checkpoint.open(folder)
    (folder / "spiece.model").rename(folder / "sentencepiece.bpe.model")
    checkpoint = Checkpoint.open(folder)
    assert_same_tokens(folder, checkpoint.tokenizer, types=False)
    composed = "Tiếng Việt, 한국어"
    apart = unicodedata.normalize("NFD", composed)
    assert checkpoint.text.normalize == "nfc"
    first, second = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text).encode(
        [composed, apart]
    )
    assert first.ids.tolist() == second.ids.tolist()
    plain = Checkpoint.open(folder, normalize="none")
    assert plain.text.normalize == "none"
    assert plain.fingerprint != checkpoint.fingerprint
    first, second = Tokenizer.open(plain.tokenizer.path, plain.text).encode([composed, apart])
    assert first.ids.tolist() != second.ids.tolist()


def test_advice_names_what_the_conversion_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="the package sentencepiece is needed") as caught:
        convert(tmp_path, Library(reason="ValueError: `tiktoken` is required"))
    assert "pip install" in caught.value.hint
    assert "tiktoken" not in str(caught.value)
    (tmp_path / "sentencepiece.bpe.model").unlink()
    with pytest.raises(CheckpointError, match="no vocabulary that one could be made of"):
        convert(tmp_path, Library(reason="OSError: nothing"))


def test_a_special_token_without_a_row_has_no_id(make_checkpoint: CheckpointFactory) -> None:
    folder = make_checkpoint("xlm-roberta")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    # As some folders leave it where nothing is padded.
    config |= {"cls_token": "<s>", "eos_token": "</s>", "pad_token": ""}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    file = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = sorted(file.token_to_id(token) for token in ("<s>", "</s>"))
    assert list(read_tokenizer(folder, rows=1201, types=1).special_ids) == expected


def test_a_text_may_name_the_padding_and_the_mask(make_checkpoint: CheckpointFactory) -> None:
    import torch
    import transformers

    from xopt.compile.packed_encoder import PackedEncoder
    from xopt.packing import pack

    for model_type in ("xlm-roberta", "bert"):
        checkpoint = Checkpoint.open(make_checkpoint(model_type))
        library = transformers.AutoTokenizer.from_pretrained(checkpoint.folder)
        model = transformers.AutoModel.from_pretrained(checkpoint.folder).eval()
        texts = ["<pad> one <pad><pad> two", "plain", "three </s> <s> four <pad>"]
        ours = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
        batch = pack(ours.encode(texts), first_position=checkpoint.config.first_position)
        trail: list[torch.Tensor] = []
        PackedEncoder.load(checkpoint).run(batch, trail=trail)
        with torch.inference_mode():
            expected = [
                model(**library(text, return_tensors="pt")).last_hidden_state[0] for text in texts
            ]
        assert float((trail[-1] - torch.cat(expected)).abs().max()) < 1e-4
