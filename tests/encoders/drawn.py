"""Configurations of every family, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
