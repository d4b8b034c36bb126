"""Every family against its own class in transformers: hidden states, heads, ragged batches."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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

Draw = st.DrawFn


@st.composite
def bert(draw: Draw) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "hidden_size": heads * 16,
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": 70,
        "type_vocab_size": draw(st.sampled_from([1, 2])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-12])),
    }


@st.composite
def distilbert(draw: Draw) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "dim": heads * 16,
        "n_heads": heads,
        "n_layers": draw(st.integers(1, 3)),
        "hidden_dim": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": 64,
        "activation": draw(st.sampled_from(["gelu", "relu"])),
    }


@st.composite
def electra(draw: Draw) -> dict[str, Any]:
    return draw(bert()) | {
        "embedding_size": draw(st.sampled_from([24, 32])),
        "summary_activation": draw(st.sampled_from(["gelu", "relu"])),
    }


@st.composite
def roformer(draw: Draw) -> dict[str, Any]:
    return draw(bert()) | {
        "embedding_size": draw(st.sampled_from([None, 24, 32])),
        "rotary_value": draw(st.booleans()),
        "hidden_act": draw(st.sampled_from(["gelu", "relu", "gelu_new"])),
    }


@st.composite
def rotary(draw: Draw) -> dict[str, Any]:
    """What every family with rotary positions has."""
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "hidden_size": heads * 16,
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": 64,
    }


SCALED: tuple[dict[str, Any], ...] = (
    {"rope_type": "linear", "factor": 4.0},
    {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {
        "rope_type": "yarn", "factor": 2.0, "beta_fast": 16, "beta_slow": 2,
        "attention_factor": 1.3, "original_max_position_embeddings": 24,
    },
    {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7, "mscale_all_dim": 0.3, "truncate": False},
)  # fmt: skip


def theta(draw: Draw) -> dict[str, Any]:
    base = {"rope_theta": draw(st.sampled_from([100.0, 160_000.0]))}
    return base | draw(st.sampled_from([{"rope_type": "default"}] * 3 + [*SCALED]))


@st.composite
def modernbert(draw: Draw) -> dict[str, Any]:
    numbers = draw(rotary())
    layers = draw(st.integers(1, 4))
    numbers["num_hidden_layers"] = layers
    form = draw(st.sampled_from(["today", "types", "old"]))
    kinds = ["full_attention", "sliding_attention"]
    if form == "old":
        numbers |= {
            "global_attn_every_n_layers": draw(st.integers(1, 3)),
            "global_rope_theta": 5_000.0,
            "local_rope_theta": 300.0,
        }
    elif form == "types":
        numbers["layer_types"] = draw(
            st.lists(st.sampled_from(kinds), min_size=layers, max_size=layers)
        )
    else:
        numbers["rope_parameters"] = {kind: theta(draw) for kind in kinds}
    return numbers | {
        "local_attention": draw(st.sampled_from([2, 7, 16, 40, 200])),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "norm_bias": draw(st.booleans()),
        "classifier_bias": draw(st.booleans()),
        "classifier_pooling": draw(st.sampled_from(["cls", "mean"])),
        "classifier_activation": draw(st.sampled_from(["gelu", "relu"])),
        "hidden_activation": draw(st.sampled_from(["gelu", "silu", "gelu_pytorch_tanh"])),
        "tie_word_embeddings": draw(st.booleans()),
    }


@st.composite
def gte(draw: Draw) -> dict[str, Any]:
    return draw(rotary()) | {
        **draw(st.sampled_from([{}, {"head_dim": 8}, {"head_dim": 20}])),
        "type_vocab_size": draw(st.sampled_from([0, 1, 2])),
        "rope_parameters": theta(draw),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-12])),
    }


@st.composite
def jina(draw: Draw) -> dict[str, Any]:
    width = draw(st.sampled_from([{}, {"head_dim": 8}, {"head_dim": 20}]))
    return draw(rotary()) | {"rope_parameters": theta(draw), "type_vocab_size": 1, **width}


@st.composite
def eurobert(draw: Draw) -> dict[str, Any]:
    numbers = draw(rotary())
    heads, shared = draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]))
    return numbers | {
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([shared, shared, None])),
        "hidden_size": heads * 16,
        "head_dim": draw(st.sampled_from([None, 8])),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "classifier_pooling": draw(st.sampled_from(["bos", "mean", "late"])),
        "rope_parameters": theta(draw),
    }


@st.composite
def gemma(draw: Draw) -> dict[str, Any]:
    numbers = draw(rotary())
    layers = numbers["num_hidden_layers"]
    heads, shared = draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]))
    kinds = ["full_attention", "sliding_attention"]
    form = draw(st.sampled_from(["types", "pattern", "today"]))
    if form == "types":
        numbers["layer_types"] = draw(
            st.lists(st.sampled_from(kinds), min_size=layers, max_size=layers)
        )
    elif form == "pattern":
        numbers |= {"sliding_window_pattern": draw(st.integers(1, 3)), "rope_theta": 5_000.0}
        numbers["rope_local_base_freq"] = 300.0
    else:
        numbers["rope_parameters"] = {kind: theta(draw) for kind in kinds}
    return numbers | {
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "hidden_size": heads * 16,
        "head_dim": draw(st.sampled_from([8, 16, 20])),
        "query_pre_attn_scalar": draw(st.sampled_from([8, 16, 37])),
        "sliding_window": draw(st.sampled_from([1, 2, 7, 16, 40, 200])),
        "attention_bias": draw(st.booleans()),
        "hidden_activation": draw(st.sampled_from(["gelu_pytorch_tanh", "silu"])),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-3])),
        "use_bidirectional_attention": True,
    }


@st.composite
def deberta(draw: Draw) -> dict[str, Any]:
    kinds = st.sampled_from(["c2p", "p2c", "c2p|p2c", " P2C | C2P", ["p2c", "c2p"], ["c2p"], None])
    heads = draw(st.sampled_from([1, 2, 3]))
    return {
        "hidden_size": heads * 16,
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.sampled_from([24, 80])),
        "max_position_embeddings": draw(st.sampled_from([64, 90])),
        "type_vocab_size": draw(st.sampled_from([0, 1, 2])),
        "relative_attention": draw(st.sampled_from([True, True, False])),
        "pos_att_type": draw(kinds),
        "share_att_key": draw(st.booleans()),
        # Few buckets, an odd number, as many as tokens; none.
        "position_buckets": draw(st.sampled_from([-1, 2, 7, 16, 64, 100])),
        "max_relative_positions": draw(st.sampled_from([-1, -1, 20, 200])),
        "norm_rel_ebd": draw(st.sampled_from(["none", "layer_norm", "layer_norm|other"])),
        "position_biased_input": draw(st.booleans()),
        "pooler_hidden_act": draw(st.sampled_from(["gelu", "tanh", "relu"])),
        "hidden_act": draw(st.sampled_from(["gelu", "silu", "gelu_new"])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-7])),
        "legacy": draw(st.booleans()),
    }


TOKEN = ("tag", "span")
SENTENCE = ("classify", "choice")
CASES = {
    "Bert": (bert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "XLMRoberta": (bert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "DistilBert": (distilbert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "Electra": (electra(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "RoFormer": (roformer(), ("embed", "mlm", *TOKEN, "classify")),
    "XLMRobertaXL": (bert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "ModernBert": (modernbert(), ("embed", "mlm", *TOKEN, *SENTENCE)),
    "Gte": (gte(), ("embed", "mlm", "tag", "classify")),
    "JinaEmbeddingsV3": (jina(), ("embed", "mlm", *TOKEN, "classify")),
    "EuroBert": (eurobert(), ("embed", "mlm", "tag", "classify")),
    "Gemma3Text": (gemma(), ("embed",)),
    "DebertaV2": (deberta(), ("embed", "mlm", *TOKEN, *SENTENCE)),
}


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
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
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

    folder = save(tmp_path, prefix, "embed", **small(prefix))
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
    assert ".1." in unset[2].splitlines()[0]
    assert "unused (1): adapter.1.weight" in caught.value.message


def test_a_retired_architecture_says_what_to_take_instead(tmp_path: Path) -> None:
    import json

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
    import json

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
    import json

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
    import json

    folder = save(tmp_path, "Electra", "choice", **small("Electra"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(CheckpointError, match=name):
        Checkpoint.open(folder)


def test_both_names_of_a_window(tmp_path: Path) -> None:
    import json

    folder = save(tmp_path, "ModernBert", "embed", **small("ModernBert"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sliding_window": 3}))
    assert Checkpoint.open(folder).config.window == 3
    check(folder)


@pytest.mark.parametrize("scaled", SCALED, ids=lambda scaled: f"{scaled['rope_type']}")
def test_scaled_rotary_positions(scaled: dict[str, Any], tmp_path: Path) -> None:
    """In today's form, by kinds of layers, and in the form of older configs."""
    import json

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
        ("Gte", {"rope_type": "yarn"}, "factor of its rotary positions is None"),
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
    import json

    folder = save(tmp_path, prefix, "embed", **small(prefix))
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"rope_scaling": scaled}))
    with pytest.raises(CheckpointError, match=words):
        Checkpoint.open(folder)


def test_every_family_is_tested() -> None:
    prefixes = {prefix for family in FAMILIES for prefix, _ in family.types.values()}
    assert prefixes - set(CASES) == {"Roberta", "Camembert"}
