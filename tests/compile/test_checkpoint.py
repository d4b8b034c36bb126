import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.weight_files import weight_files
from xopt.errors import CheckpointError

Factory = Callable[..., Path]


@pytest.fixture
def folder(make_checkpoint: Factory, tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_checkpoint(), tmp_path / "checkpoint"))


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "camembert"])
@pytest.mark.parametrize("head", ["classify", "tag", "span", "embed"])
def test_head_and_positions_are_read_from_the_config(
    make_checkpoint: Factory, model_type: str, head: str
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint(model_type, head))
    assert checkpoint.head.kind == head
    assert checkpoint.config.first_position == (0 if model_type == "bert" else 2)
    assert checkpoint.config.max_tokens == (130 if model_type == "bert" else 128)
    if head in ("classify", "tag"):
        assert checkpoint.head.labels == ("a", "b", "c")


def test_an_unknown_architecture_names_what_is_supported(folder: Path) -> None:
    change(folder, model_type="mpnet")
    with pytest.raises(CheckpointError, match="mpnet") as caught:
        Checkpoint.open(folder)
    for name in ("bert", "roberta", "xlm-roberta", "camembert"):
        assert name in caught.value.hint


def test_an_unknown_head_names_what_is_supported(folder: Path) -> None:
    change(folder, architectures=["XLMRobertaForCausalLM"])
    with pytest.raises(CheckpointError, match="XLMRobertaForCausalLM") as caught:
        Checkpoint.open(folder)
    assert "XLMRobertaForTokenClassification" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "gelu_fast"}, "activation 'gelu_fast'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' positions"),
        ({"hidden_size": None}, "lacks a number"),
        ({"num_attention_heads": 3}, "no multiple of 3"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": 2.9}, "num_hidden_layers is 2.9"),
        ({"layer_norm_eps": "x"}, "wrong number"),
        ({"architectures": "XLMRobertaModel"}, "not a list of names"),
    ],
)
def test_a_config_that_cannot_be_compiled(
    folder: Path, values: dict[str, Any], message: str
) -> None:
    change(folder, **values)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="pickle") as caught:
        Checkpoint.open(folder)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        (["XLMRobertaForSequenceClassification"], "XLMRobertaForSequenceClassification"),
        (None, "AutoModel"),
        # Typed into a shell, so no more than a name.
        (['M"; touch spoiled; "'], "AutoModel"),
    ],
)
def test_a_converted_pickle_keeps_its_head(folder: Path, named: object, kind: str) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": named}))
    with pytest.raises(CheckpointError, match="pickle") as caught:
        weight_files(folder)
    code = shlex.split(caught.value.hint.split("again: ")[1])
    assert code[:2] == ["python", "-c"]
    assert code[2].startswith(f"import sys; from transformers import {kind} as M; ")
    assert code[3:] == [str(folder)]


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        Checkpoint.open(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        Checkpoint.open(folder)


def test_truncated_weights_are_explained(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="no readable safetensors") as caught:
        PackedEncoder.load(Checkpoint.open(folder))
    assert "truncated" in caught.value.hint


def test_each_unset_and_each_unused_weight_is_listed(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.adapter.weight"] = tensors.pop("encoder.layer.1.output.dense.bias")
    save_file(tensors, path)
    with pytest.raises(CheckpointError) as caught:
        PackedEncoder.load(Checkpoint.open(folder))
    assert "unset (1): encoder.layer.1.output.dense.bias" in caught.value.message
    assert "unused (1): encoder.layer.0.adapter.weight" in caught.value.message


def test_what_transformers_leaves_out_is_left_out(folder: Path) -> None:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    expected = transformers.AutoModel.from_pretrained(folder).state_dict()
    path = folder / "model.safetensors"
    more = {
        # SimCSE's training head, and buffers that older versions wrote.
        "mlp.dense.weight": torch.ones(64, 64),
        "crf.transitions": torch.ones(3, 3),
        "embeddings.position_ids": torch.arange(130)[None],
        "embeddings.token_type_ids": torch.zeros(1, 130, dtype=torch.long),
    }
    save_file(load_file(path) | more, path, metadata={"format": "pt"})
    found = PackedEncoder.load(Checkpoint.open(folder)).state_dict()
    word = expected["embeddings.word_embeddings.weight"]
    assert torch.equal(found["embeddings.word.weight"], word)
    assert transformers.AutoModel.from_pretrained(folder).state_dict().keys() == expected.keys()


def test_quantized_weights_are_named(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = (tensors[name] * 100).char()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{name}: int8, not floating"):
        PackedEncoder.load(Checkpoint.open(folder))
    change(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(CheckpointError, match=r"quantization_config is .*gptq"):
        Checkpoint.open(folder)
    change(folder, quantization_config=None, is_decoder=True)
    with pytest.raises(CheckpointError, match="is_decoder is true"):
        Checkpoint.open(folder)


def test_labels_are_named_as_transformers_names_them(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    import transformers

    folder = Path(shutil.copytree(make_checkpoint("bert", "classify"), tmp_path / "c"))
    change(folder, id2label={"02": "third", "00": "first", "1": "second"})
    names = transformers.AutoConfig.from_pretrained(folder).id2label
    labels = Checkpoint.open(folder).head.labels
    assert labels == tuple(names[n] for n in range(3)) == ("first", "second", "third")
    for wrong in ({"1": "a", "2": "b", "3": "c"}, {"a": "0", "b": "1"}):
        change(folder, id2label=wrong)
        with pytest.raises(CheckpointError, match=r"id2label names .*, not each of the ids 0 to"):
            Checkpoint.open(folder)


def test_a_checkpoint_that_its_library_cannot_run_is_explained(folder: Path) -> None:
    from xopt.compile.trace import trace_checkpoint
    from xopt.errors import ParityError

    change(folder, pad_token_id=None)
    with pytest.raises(ParityError, match="does not answer a text: TypeError") as caught:
        trace_checkpoint(Checkpoint.open(folder))
    assert "config.json" in caught.value.hint


def test_a_shape_other_than_the_configs_is_listed(folder: Path) -> None:
    change(folder, vocab_size=1300)
    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight: \[1200, 64\]"):
        PackedEncoder.load(Checkpoint.open(folder))


def test_old_layer_norm_names_and_an_unread_pooler(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    for model_type, head in (("bert", "embed"), ("xlm-roberta", "classify")):
        source = make_checkpoint(model_type, head)
        old = Path(shutil.copytree(source, tmp_path / model_type))
        tensors = load_file(old / "model.safetensors")
        prefix = "roberta." if model_type == "xlm-roberta" else ""
        pooler = {f"{prefix}pooler.dense.bias": tensors.popitem()[1]} if prefix else {}
        tensors = load_file(old / "model.safetensors") | pooler
        renamed = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }
        save_file(renamed, old / "model.safetensors")
        a, b = (PackedEncoder.load(Checkpoint.open(f)).state_dict() for f in (source, old))
        assert all(bool((a[name] == b[name]).all()) for name in a)


def test_positions_follow_a_padding_id_of_zero(folder: Path) -> None:
    change(folder, pad_token_id=0)
    assert Checkpoint.open(folder).config.first_position == 1


def test_a_layer_is_only_for_encoders_without_a_head(make_checkpoint: Factory) -> None:
    with pytest.raises(CheckpointError, match="--layer is for encoders without a head"):
        Checkpoint.open(make_checkpoint("bert", "tag"), layer=1)


def test_an_index_may_not_leave_its_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"x": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        Checkpoint.open(folder)


def test_sharded_weights_load_as_whole_ones(make_checkpoint: Factory, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    whole = make_checkpoint()
    AutoModel.from_pretrained(whole).save_pretrained(tmp_path / "s", max_shard_size="200KB")
    shutil.copy(whole / "tokenizer.json", tmp_path / "s")
    sharded = Checkpoint.open(tmp_path / "s")
    assert len(sharded.weight_files) > 1
    a = PackedEncoder.load(Checkpoint.open(whole)).state_dict()
    b = PackedEncoder.load(sharded).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_layer_that_is_not_there(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no layer 9") as caught:
        Checkpoint.open(folder, layer=9)
    assert "0 (embeddings) to 2" in caught.value.hint


@pytest.mark.parametrize("name", ["sentence_bert_config.json", "extra/config.json"])
def test_a_pipe_among_the_files_is_refused_before_anything_waits_for_it(
    folder: Path, name: str
) -> None:
    if "/" in name:
        (folder / "extra").mkdir()
        modules = [("", "Transformer"), ("extra", "Pooling")]
        listed = [
            {"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules
        ]
        (folder / "modules.json").write_text(json.dumps(listed))
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match="no file but a pipe"):
        Checkpoint.open(folder)
