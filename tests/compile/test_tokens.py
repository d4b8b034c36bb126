"""A bundle's tokenizer against transformers' AutoTokenizer, for every way that the two part."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.compile.token_folders import assert_same_tokens, corpus, folder_of

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.tokens import read_tokenizer
from xopt.errors import CheckpointError
from xopt.tokenization import Tokenizer

CheckpointFactory = Callable[..., Path]


@pytest.fixture(scope="module")
def unigram() -> dict[str, Any]:
    """XLM-R's special tokens; a Metaspace pre-tokenizer and normalizers of the file's own."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = Fast(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("ss", "ß")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=2600, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(corpus()[::3], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    document: dict[str, Any] = json.loads(made.to_str())
    return document


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cased WordPiece tokenizer, as ``tokenizer.json`` and as ``vocab.txt``."""
    from tokenizers import BertWordPieceTokenizer

    made = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    texts = corpus()[::3]
    made.train_from_iterator(texts + [t.lower() for t in texts], 2000, show_progress=False)
    folder = tmp_path_factory.mktemp("wordpiece")
    made.save_model(str(folder))
    document = json.loads(made.to_str())
    numbers = made.get_vocab()
    document["post_processor"] = {
        "type": "BertProcessing",
        "sep": ["[SEP]", numbers["[SEP]"]],
        "cls": ["[CLS]", numbers["[CLS]"]],
    }
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    "config",
    [{"tokenizer_class": "XLMRobertaTokenizer"}, {"tokenizer_class": "XLMRobertaTokenizerFast"}],
)
def test_a_class_that_drops_steps_of_the_file_is_followed(
    tmp_path: Path, unigram: dict[str, Any], config: dict[str, Any]
) -> None:
    folder = folder_of(tmp_path / "x", "bert", config, tokenizer__json=json.dumps(unigram))
    found = read_tokenizer(folder, rows=2600, types=2)
    assert found.facts["adopted"]
    assert found.facts["class"] == "XLMRobertaTokenizer"
    assert found.facts["different"] > 10
    assert_same_tokens(folder, found)
    # XLM-R's class gives its model no types: both texts are 0, whatever the file says.
    [pair] = Tokenizer.open(found.path, 64).encode(["a"], ["b"])
    assert not pair.type_ids.any()


def test_a_file_that_gives_the_librarys_tokens_is_kept(
    tmp_path: Path, unigram: dict[str, Any]
) -> None:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    folder = folder_of(tmp_path / "x", "bert", config, tokenizer__json=json.dumps(unigram))
    found = read_tokenizer(folder, rows=2600, types=2)
    assert not found.facts["adopted"]
    assert json.loads(found.path.read_text()) == unigram
    assert_same_tokens(folder, found)
    # The other way round: what transformers saves is what it reads.
    saved = tmp_path / "saved"
    import transformers

    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
    (saved / "config.json").write_text('{"model_type": "xlm-roberta"}')
    again = read_tokenizer(saved, rows=2600, types=1)
    assert not again.facts["adopted"]
    assert_same_tokens(saved, again, types=False)


@pytest.mark.parametrize(
    "config",
    [
        {"do_lower_case": True},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": False, "tokenize_chinese_chars": False},
        {"do_lower_case": False, "strip_accents": False},
    ],
)  # fmt: skip
def test_lower_case_and_accents_are_those_of_the_configuration(
    tmp_path: Path, wordpiece: Path, config: dict[str, Any]
) -> None:
    file = (wordpiece / "tokenizer.json").read_bytes()
    named = {"tokenizer_class": "BertTokenizer"} | config
    folder = folder_of(tmp_path / "x", "bert", named, tokenizer__json=file)
    found = read_tokenizer(folder, rows=2000, types=2)
    assert found.facts["adopted"] is (config != {"do_lower_case": False, "strip_accents": False})
    assert_same_tokens(folder, found)


def test_added_tokens_are_those_of_the_configuration(
    tmp_path: Path, unigram: dict[str, Any]
) -> None:
    """A word that no sample holds, with other blanks and borders in the two files."""
    import transformers
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Fast

    fast = Fast.from_str(json.dumps(unigram))
    fast.add_tokens([AddedToken("zungumza", single_word=True)])
    number = fast.token_to_id("zungumza")
    token = {
        "content": "zungumza", "single_word": False, "lstrip": False, "rstrip": True,
        "normalized": True, "special": False,
    }  # fmt: skip
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {str(number): token},
    }
    folder = folder_of(tmp_path / "x", "bert", config, tokenizer__json=fast.to_str())
    found = read_tokenizer(folder, rows=number + 1, types=1)
    library = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ours = Tokenizer.open(found.path, 64)
    for text in ("zungumzana sasa", "a zungumza  b", "mazungumza", "Zungumza"):
        [got] = ours.encode([text])
        assert got.ids.tolist() == library(text)["input_ids"], text
    assert fast.encode("a zungumza  b").ids != library("a zungumza  b")["input_ids"]


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_names_of_special_tokens_are_words_where_the_configuration_says_so(
    make_checkpoint: CheckpointFactory, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(make_checkpoint(kind), tmp_path / "x"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split_special_tokens": True}))
    found = Checkpoint.open(folder).tokenizer
    assert_same_tokens(folder, found, types=kind == "bert")
    [named] = Tokenizer.open(found.path, 64).encode(["a </s> [SEP] <mask> b"])
    assert named.ids[1:-1].min() > max(named.ids[[0, -1]])


def test_files_that_disagree_stop_the_build_and_are_named(
    tmp_path: Path, unigram: dict[str, Any]
) -> None:
    file = json.dumps(unigram)
    config = {"tokenizer_class": "BertTokenizer"}
    folder = folder_of(tmp_path / "x", "bert", config, tokenizer__json=file)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json disagree"):
        read_tokenizer(folder, rows=2600, types=2)
    # Where no file names a class, the encoder's type alone would choose it: the file stands.
    folder = folder_of(tmp_path / "y", "bert", None, tokenizer__json=file)
    found = read_tokenizer(folder, rows=2600, types=2)
    assert json.loads(found.path.read_text()) == unigram
    assert "names a tokenizer class" in found.facts["reason"]


def test_merges_at_random_are_refused_by_their_name(tmp_path: Path) -> None:
    document = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}}
    folder = folder_of(tmp_path / "x", "bert", None, tokenizer__json=json.dumps(document))
    with pytest.raises(CheckpointError, match=r"at random \(BPE dropout 0\.1\)") as caught:
        read_tokenizer(folder, rows=1, types=1)
    assert '"dropout": null' in caught.value.hint


def test_a_token_that_the_class_adds_without_a_row_is_left_out(
    tmp_path: Path, unigram: dict[str, Any]
) -> None:
    document = json.loads(json.dumps(unigram))
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] != "<mask>"]
    document["model"]["vocab"] = [v for v in document["model"]["vocab"] if v[0] != "<mask>"]
    rows = len(document["model"]["vocab"])
    config = {"tokenizer_class": "XLMRobertaTokenizer"}
    folder = folder_of(tmp_path / "x", "bert", config, tokenizer__json=json.dumps(document))
    found = read_tokenizer(folder, rows=rows, types=2)
    [masked] = Tokenizer.open(found.path, 64).encode(["a <mask> b"])
    assert masked.ids.max() < rows


@pytest.mark.parametrize("config", [None, {"tokenizer_class": "BertTokenizer"}])
def test_a_vocabulary_alone_becomes_what_the_library_makes_of_it(
    tmp_path: Path, wordpiece: Path, config: dict[str, Any] | None
) -> None:
    from tokenizers import ByteLevelBPETokenizer

    text = (wordpiece / "vocab.txt").read_bytes()
    folder = folder_of(tmp_path / "x", "bert", config, vocab__txt=text)
    found = read_tokenizer(folder, rows=2000, types=2)
    assert found.facts["source"] == "vocab.txt"
    assert_same_tokens(folder, found)
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(corpus()[::9], 900, show_progress=False, special_tokens=special)
    folder = folder_of(tmp_path / "y", "roberta", None)
    bpe.save_model(str(folder))
    found = read_tokenizer(folder, rows=900, types=1)
    assert found.facts["source"] == "vocab.json"
    assert_same_tokens(folder, found, types=False)
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match="merges"):
        read_tokenizer(folder, rows=900, types=1)


@pytest.mark.parametrize("step", ["NFC", "NFKC"])
def test_a_tokenizer_that_composes_first_gets_composed_text_and_right_offsets(
    make_checkpoint: CheckpointFactory, unigram: dict[str, Any], step: str
) -> None:
    import transformers

    folder = make_checkpoint("xlm-roberta", vocab_size=2600)
    document = {**unigram, "normalizer": {"type": step}}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    checkpoint = Checkpoint.open(folder)
    ours = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    library = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for composed in ("한국어 문장", "Tiếng Việt", "été à"):
        text = unicodedata.normalize("NFD", composed)
        [found] = ours.encode([text], details=True)
        assert found.ids.tolist() == library(text)["input_ids"]
        assert found.offsets is not None
        covered = {place for a, b in found.offsets[1:-1] for place in range(a, b)}
        assert {n for n, letter in enumerate(text) if letter != " "} <= covered
