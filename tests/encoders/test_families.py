"""Every family against its own class in transformers: hidden states, heads, ragged batches."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.encoders.drawn import CASES, SCALED
from tests.encoders.families import save, tokens

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.parity import reference_answers
from xopt.compile.reference import reference_model
from xopt.encoders.families import FAMILIES
from xopt.errors import CheckpointError
from xopt.packing import pack

# Both sides compute in fp32, in another order.
TOLERANCE = 1e-4
LENGTHS = (3, 40, 1, 17, 29, 64)


def check(folder: Path, seed: int = 0) -> None:
    """Hidden states and head of a ragged batch, and every sentence alone."""
    checkpoint = Checkpoint.open(folder)
    encodings = tokens(LENGTHS, seed, types=max(checkpoint.config.types, 1), least=1)
    first = checkpoint.config.first_position
    if checkpoint.config.table:
        assert checkpoint.config.max_tokens == checkpoint.config.table - first
    theirs: list[torch.Tensor] = []
    expected = reference_answers(reference_model(checkpoint), checkpoint, encodings, theirs)
    ours: list[torch.Tensor] = []
    model = PackedEncoder.load(checkpoint)
    answer = model.run(pack(encodings, first_position=first), trail=ours).numpy()
    assert len(ours) == len(theirs) == checkpoint.config.layers + 1
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).abs().max()) <= TOLERANCE
    assert answer.shape == expected.shape
    assert abs(answer - expected).max() <= TOLERANCE
    alone = [model.run(pack([e], first_position=first)) for e in encodings]
    assert float((torch.cat(alone) - torch.from_numpy(answer)).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("prefix", CASES)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_family_answers_as_its_own_class_does(prefix: str, data: st.DataObject) -> None:
    numbers, heads = CASES[prefix]
    head = data.draw(st.sampled_from(heads))
    seed = data.draw(st.integers(0, 99))
    with tempfile.TemporaryDirectory() as folder:
        check(save(Path(folder), prefix, head, seed, **data.draw(numbers)), seed)


def small(prefix: str) -> dict[str, Any]:
    """One fixed config of a family."""
    numbers: dict[str, Any] = SMALL[prefix]
    return numbers


BERT_SMALL = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48,
    "max_position_embeddings": 70,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "Bert": BERT_SMALL,
    "XLMRoberta": BERT_SMALL,
    "Electra": BERT_SMALL | {"embedding_size": 24},
    "RoFormer": BERT_SMALL | {"rotary_value": True},
    "XLMRobertaXL": BERT_SMALL,
    "ModernBert": BERT_SMALL | {"num_hidden_layers": 4, "local_attention": 12},
    "Gte": BERT_SMALL,
    "JinaEmbeddingsV3": BERT_SMALL,
    "EuroBert": BERT_SMALL | {"num_key_value_heads": 1},
    "Gemma3Text": BERT_SMALL | {
        "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 12,
        "sliding_window": 14, "layer_types": ["sliding_attention", "full_attention"],
        "use_bidirectional_attention": True,
    },
    "DebertaV2": BERT_SMALL | {
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
        "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    },
    "DistilBert": {
        "dim": 32, "n_heads": 2, "n_layers": 2, "hidden_dim": 48, "max_position_embeddings": 64,
    },
}  # fmt: skip


@pytest.mark.parametrize("prefix", CASES)
def test_every_head_of_a_family(prefix: str, tmp_path: Path) -> None:
    for head in CASES[prefix][1]:
        (tmp_path / head).mkdir()
        check(save(tmp_path / head, prefix, head, **small(prefix)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("prefix", CASES)
def test_half_and_sharded_weights(prefix: str, dtype: str, tmp_path: Path) -> None:
    import transformers

    head = "tag" if "tag" in CASES[prefix][1] else "embed"
    whole = save(tmp_path, prefix, head, **small(prefix))
    auto = {"tag": "AutoModelForTokenClassification", "embed": "AutoModel"}[head]
    loader = getattr(transformers, auto)
    half = tmp_path / "half"
    loader.from_pretrained(whole, dtype=dtype).save_pretrained(half, max_shard_size="20KB")
    for path in whole.glob("tokenizer*.json"):
        shutil.copy(path, half)
    checkpoint = Checkpoint.open(half)
    assert len(checkpoint.weight_files) > 1
    check(half)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("prefix", CASES)
def test_a_layer_below_the_last_is_pooled(prefix: str, layer: int, tmp_path: Path) -> None:
    head = "mlm" if "mlm" in CASES[prefix][1] else "embed"
    checkpoint = Checkpoint.open(save(tmp_path, prefix, head, **small(prefix)), layer=layer)
    encodings = tokens(LENGTHS)
    expected = reference_answers(reference_model(checkpoint), checkpoint, encodings)
    batch = pack(encodings, first_position=checkpoint.config.first_position)
    answer = PackedEncoder.load(checkpoint).run(batch).numpy()
    assert abs(answer - expected).max() <= TOLERANCE


@pytest.mark.parametrize("prefix", CASES)
def test_missing_and_unknown_tensors_are_named(prefix: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    kind = "classify" if "classify" in CASES[prefix][1] else "embed"
    folder = save(tmp_path, prefix, kind, **small(prefix))
    checkpoint = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    # The last matrix of layer 1, however this family spells it.
    theirs = [name for name, tensor in tensors.items() if ".1." in name and tensor.dim() == 2][-1]
    tensors["adapter.1.weight"] = tensors.pop(theirs)
    save_file(tensors, path)
    with pytest.raises(CheckpointError) as caught:
        PackedEncoder.load(checkpoint)
    unset = caught.value.message.partition("unset (")[2].partition(")")
    assert int(unset[0]) >= 1
    # As the file spelled it, the encoder's prefix before it.
    assert theirs in unset[2].splitlines()[0].split(": ")[1].split(", ")
    assert "unused (1): adapter.1.weight" in caught.value.message


def test_a_retired_architecture_says_what_to_take_instead(tmp_path: Path) -> None:
    folder = save(tmp_path, "Gte", "embed", **small("Gte"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "new"}))
    with pytest.raises(CheckpointError, match="code of its own") as caught:
        Checkpoint.open(folder)
    assert "gte-multilingual-base" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_bidirectional_attention": False}, "is a decoder"),
        ({"use_bidirectional_attention": None}, "is a decoder"),
        ({"is_causal": False}, "is_causal"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"architectures": ["Gemma3ForCausalLM"]}, "not supported"),
        ({"architectures": ["Gemma3TextForSequenceClassification"]}, "not supported"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"num_key_value_heads": 3}, "cannot share"),
    ],
)
def test_a_decoder_stays_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path, "Gemma3Text", "embed", **small("Gemma3Text"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=words):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("prefix", "change", "words"),
    [
        ("DistilBert", {"num_attention_heads": 1}, "num_attention_heads"),
        ("DistilBert", {"num_hidden_layers": 1}, "num_hidden_layers"),
        ("RoFormer", {"num_attention_heads": 32, "hidden_size": 32}, "no pairs"),
        ("RoFormer", {"architectures": ["RoFormerForMultipleChoice"]}, "not supported"),
        ("Gte", {"num_attention_heads": 32}, "no pairs"),
        ("EuroBert", {"head_dim": 7}, "no pairs"),
        ("EuroBert", {"num_key_value_heads": 3}, "cannot share"),
        ("ModernBert", {"head_dim": 8}, "head_dim"),
        ("JinaEmbeddingsV3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("Gte", {"rope_scaling": {"type": "default", "rope_theta": 7.0}}, "rotary positions"),
    ],
)
def test_what_is_not_computed_is_refused(
    prefix: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = save(tmp_path, prefix, "embed", **small(prefix))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=words):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("summary_type", "mean"), ("summary_use_proj", False), ("summary_proj_to_labels", True)],
)
def test_a_choice_of_electra_that_is_not_computed(name: str, value: Any, tmp_path: Path) -> None:
    folder = save(tmp_path, "Electra", "choice", **small("Electra"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(CheckpointError, match=name):
        Checkpoint.open(folder)


def test_both_names_of_a_window(tmp_path: Path) -> None:
    folder = save(tmp_path, "ModernBert", "embed", **small("ModernBert"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sliding_window": 3}))
    assert Checkpoint.open(folder).config.window == 3
    check(folder)


@pytest.mark.parametrize("scaled", SCALED, ids=lambda scaled: f"{scaled['rope_type']}")
def test_scaled_rotary_positions(scaled: dict[str, Any], tmp_path: Path) -> None:
    """In today's form, by kinds of layers, and in the form of older configs."""
    for prefix, rotary in (
        ("Gte", {"rope_parameters": scaled | {"rope_theta": 900.0}}),
        ("ModernBert", {"rope_parameters": {"full_attention": scaled | {"rope_theta": 900.0}}}),
        ("EuroBert", {"rope_theta": 700.0}),
    ):
        (tmp_path / prefix).mkdir()
        folder = save(tmp_path / prefix, prefix, "embed", **(small(prefix) | rotary))
        if prefix == "EuroBert":
            path = folder / "config.json"
            older = {"rope_scaling": scaled | {"type": scaled["rope_type"]}, "rope_theta": 700.0}
            path.write_text(json.dumps(json.loads(path.read_text()) | older))
        check(folder)


@pytest.mark.parametrize(
    ("prefix", "scaled", "words"),
    [
        ("Gte", {"rope_type": "dynamic", "factor": 4.0}, "dynamic"),
        ("EuroBert", {"type": "ntk", "factor": 4.0}, "ntk"),
        ("ModernBert", {"rope_type": "yarn", "factor": 4.0}, "yarn"),
        ("Gte", {"rope_type": "yarn"}, "factor of its rotary positions is null"),
        ("Gte", {"rope_type": "linear", "factor": 0}, "factor of its rotary positions is 0"),
        (
            "Gte",
            {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4},
            "high_freq_factor",
        ),
    ],
)
def test_other_rotary_positions_are_refused(
    prefix: str, scaled: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = save(tmp_path, prefix, "embed", **small(prefix))
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"rope_scaling": scaled}))
    with pytest.raises(CheckpointError, match=words):
        Checkpoint.open(folder)


def test_every_family_is_tested() -> None:
    prefixes = {prefix for family in FAMILIES for prefix, _ in family.types.values()}
    assert prefixes - set(CASES) == {"Roberta", "Camembert"}
