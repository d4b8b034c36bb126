"""How a folder is read: what its own library decides, and what is refused by its file's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.compile.st_files import MODULES, change, modules, pool, write

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.errors import CheckpointError, InputError

Factory = Callable[..., Path]


@pytest.fixture
def folder(make_checkpoint: Factory, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(), tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),
        ({"pooling_mode_mean_tokens": False}, ("mean",)),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 64}, ("lasttoken",)),
        ({"pooling_mode": ["weightedmean", "cls"]}, ("weightedmean", "cls")),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
        ({}, ("mean",)),
    ],
)
def test_pooling_in_files_of_every_version(
    folder: Path, config: dict[str, Any], expected: tuple[str, ...]
) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    pool(folder, word_embedding_dimension=64, **config)
    head = Checkpoint.open(folder).head
    assert head.pooling == expected
    assert head.width(64) == 64 * len(expected)
    theirs = Pooling.load(str(folder), subfolder="1_Pooling").pooling_mode
    assert (theirs if isinstance(theirs, tuple) else (theirs,)) == expected


def test_a_class_of_the_checkpoints_own_code_is_read_as_transformers_own(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    import transformers

    for head, name in (("classify", "NewForSequenceClassification"), ("embed", "NewModel")):
        folder = Path(shutil.copytree(make_checkpoint("bert", head), tmp_path / head))
        code = {"AutoModel": "modeling.NewModel"}
        change(folder / "config.json", architectures=[name], auto_map=code)
        assert Checkpoint.open(folder).head.kind == head
        opened = transformers.AutoModel.from_pretrained(folder, trust_remote_code=False)
        assert isinstance(opened, transformers.BertModel)
    change(folder / "config.json", architectures=["NewForGraphReading"])
    with pytest.raises(CheckpointError, match="'NewForGraphReading' is not supported"):
        Checkpoint.open(folder)


def test_an_option_overrides_the_folder_and_says_so(folder: Path) -> None:
    pool(folder, pooling_mode="cls")
    head = Checkpoint.open(folder, pooling="mean+max", layer=1).head
    assert (head.pooling, head.layer) == (("mean", "max"), 1)
    assert head.manifest()["overridden"] == {"layer": 2, "pooling": ["cls"]}
    assert "overridden" not in Checkpoint.open(folder, pooling="cls").head.manifest()
    with pytest.raises(InputError, match="Unknown pooling 'median'"):
        Checkpoint.open(folder, pooling="mean+median")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("CNN", "the module CNN"), ("LSTM", "the module LSTM"), ("Router", "the module Router"),
        ("WordEmbeddings", "WordEmbeddings"), ("StaticEmbedding", "StaticEmbedding"),
        ("WeightedLayerPooling", "WeightedLayerPooling"), ("Asym", "the module Asym"),
    ],
)  # fmt: skip
def test_a_module_that_xopt_does_not_do_is_named(folder: Path, kind: str, message: str) -> None:
    modules(folder, kind, "Pooling")
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.open(folder)
    assert "modules.json" in caught.value.message


def test_a_first_module_without_a_config_is_named(folder: Path) -> None:
    """What sentence-transformers writes of a StaticEmbedding or a Router has no config.json."""
    (folder / "config.json").unlink()
    for kind in ("StaticEmbedding", "Router"):
        path = "sentence_transformers.base.modules." + kind
        write(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": path}])
        with pytest.raises(CheckpointError, match=rf"modules\.json names the module {kind}"):
            Checkpoint.open(folder)


def test_files_that_cannot_be_followed_are_named(folder: Path) -> None:
    def refused(match: str, advice: str = "") -> None:
        with pytest.raises(CheckpointError, match=match) as caught:
            Checkpoint.open(folder)
        assert advice in caught.value.hint

    modules(folder)
    refused("no Pooling")
    modules(folder, "Pooling", prefix="custom_code.")
    refused("no code of a checkpoint", "not at fault")
    # As jina-embeddings-v3's folder first was: its encoder's advice comes first.
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | {"position_embedding_type": "rotary"})
    refused("'rotary' positions", "jina-embeddings-v3-hf")
    write(folder / "config.json", config)
    write(folder / "modules.json", [{"path": "../x", "type": MODULES + "Transformer"}])
    refused("outside of its folder")
    write(folder / "modules.json", [{"path": "", "type": MODULES + "Pooling"}])
    refused("first module", "not at fault")
    write(folder / "modules.json", {"a": 1})
    refused(r"modules\.json is damaged")
    modules(folder, "Pooling")
    refused(r"1_Pooling/config\.json is not there")
    pool(folder, pooling_mode="median")
    refused(r"1_Pooling/config\.json.*median")
    pool(folder, pooling_mode="mean")
    write(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})
    refused("SparseEncoder")
    write(folder / "config_sentence_transformers.json", {"default_prompt_name": "x"})
    refused("default prompt 'x'")
    (folder / "config_sentence_transformers.json").unlink()
    for options, message in (
        ({"transformer_task": "fill-mask"}, "fill-mask"),
        ({"query_length": 32}, "query_length"),
        ({"tokenizer_args": {"do_basic_tokenize": False}}, "do_basic_tokenize"),
        ({"model_args": {"do_lower_case": True}}, "do_lower_case"),
        ({"modality_config": {"text": {"method": "get", "method_output_name": "x"}}}, "not last"),
        ({"modality_config": {"message": {"method": "forward"}}}, "chat template"),
        ({"processing_kwargs": {"text": {"truncation": "only_first"}}}, "only_first"),
    ):
        write(folder / "sentence_bert_config.json", options)
        refused(rf"sentence_bert_config\.json.*{message}")


def test_a_dense_that_cannot_be_followed_is_named(folder: Path) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    modules(folder, "Pooling", "Dense")
    write(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean"})
    place = folder / "2_Dense"
    config = {"in_features": 64, "out_features": 8, "bias": False}

    def refused(match: str, **values: Any) -> None:
        write(place / "config.json", config | values)
        with pytest.raises(CheckpointError, match=match):
            PackedEncoder.load(Checkpoint.open(folder))

    refused(r"2_Dense has no model\.safetensors")
    (place / "pytorch_model.bin").write_bytes(b"")
    refused(r"2_Dense/pytorch_model\.bin is a pickle")
    save_file({"linear.weight": zeros(8, 64)}, place / "model.safetensors")
    write(place / "config.json", config)
    assert Checkpoint.open(folder).head.width(64) == 8
    refused(r"2_Dense/config\.json.*reads 32 values where 64", in_features=32)
    refused(r"2_Dense/config\.json.*its activation is null", activation_function=None)
    refused("does not fit its config.json", out_features=9)
    refused("does not fit its config.json", bias=True)
    refused("Bilinear", activation_function="torch.nn.Bilinear")
    refused("token_embeddings", module_input_name="token_embeddings")
    # Code of another package is not run; sentence-transformers takes its default then.
    write(place / "config.json", config | {"activation_function": "evil.code"})
    assert Checkpoint.open(folder).head.manifest()["modules"][0]["activation"] == "Tanh"


def test_the_old_layout_is_read(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "old"
    shutil.copytree(folder, root / "0_Transformer")
    modules(root, "Pooling", root="0_Transformer")
    write(root / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    write(root / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 60})
    checkpoint = Checkpoint.open(root)
    assert checkpoint.folder == root / "0_Transformer"
    assert (checkpoint.head.pooling, checkpoint.text.max_tokens) == (("cls",), 60)
    assert checkpoint.name == "old"


def test_limits_and_prompts_are_sentence_transformers(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    pool(folder, pooling_mode="mean", word_embedding_dimension=64)
    write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "query: ", "passage": None}, "default_prompt_name": "query"},
    )
    for tokenizer, transformer in (
        ({}, {}), ({"model_max_length": 90}, {}), ({"model_max_length": 1e30}, {}),
        ({"model_max_length": 90}, {"max_seq_length": 100}), ({}, {"max_seq_length": 5000}),
        ({}, {"tokenizer_args": {"model_max_length": 70}, "max_seq_length": 80}),
    ):  # fmt: skip
        change(folder / "tokenizer_config.json", **({"model_max_length": 4000} | tokenizer))
        write(folder / "sentence_bert_config.json", transformer)
        text = Checkpoint.open(folder).text
        theirs = SentenceTransformer(str(folder), device="cpu")
        # The position table is the limit where the library has none: it would run over it.
        assert text.max_tokens == min(128, theirs.max_seq_length)
        assert text.prompts == theirs.prompts == {"query": "query: ", "document": "", "passage": ""}
        assert text.default_prompt == theirs.default_prompt_name == "query"


def test_a_limit_without_room_for_special_tokens_is_refused(folder: Path) -> None:
    pool(folder, pooling_mode="mean")
    write(folder / "sentence_bert_config.json", {"max_seq_length": 1})
    with pytest.raises(CheckpointError, match="may have 1 tokens, and its 2 special ones") as found:
        Checkpoint.open(folder)
    assert "max_seq_length" in found.value.hint


def test_pre_training_heads_are_left_out(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=1200, hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=96, max_position_embeddings=40,
    )  # fmt: skip
    model = BertForPreTraining(config)
    model.save_pretrained(tmp_path / "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / "bert" / name)
    checkpoint = Checkpoint.open(tmp_path / "bert")
    assert checkpoint.head.kind == "embed"
    words = PackedEncoder.load(checkpoint).state_dict()["embeddings.word.weight"]
    assert torch.equal(words, model.bert.embeddings.word_embeddings.weight)


def test_a_whole_file_comes_before_an_index(folder: Path) -> None:
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    write(folder / "model.safetensors.index.json", index)
    assert [p.name for p in Checkpoint.open(folder).weight_files] == ["model.safetensors"]


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_says_how_to_merge_it(folder: Path, alone: bool) -> None:
    base = {"base_model_name_or_path": "xlm-roberta-base", "task_type": "TOKEN_CLS"}
    write(folder / "adapter_config.json", base)
    if alone:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="adapter") as caught:
        Checkpoint.open(folder)
    hint = caught.value.hint
    assert "pip install peft" in hint
    assert "AutoPeftModelForTokenClassification" in hint
    assert "merge_and_unload" in hint
    assert "xlm-roberta-base" in hint


def test_a_token_without_a_row_is_named_at_build(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    extra = {
        "id": 1200, "content": "<mask>", "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True,
    }  # fmt: skip
    document["added_tokens"].append(extra)
    write(folder / "tokenizer.json", document)
    with pytest.raises(CheckpointError, match=r"'<mask>' \(1200\)"):
        Checkpoint.open(folder)
