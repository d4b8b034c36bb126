"""GTE (Zhang et al., 2024), EuroBERT (Boizard et al., 2025), jina-embeddings-v3 without adapters.

Three encoders whose parts transformers calls alike. GTE and jina have a second
spelling: that of their first checkpoints, in which transformers 5 saves them too.
"""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.bert import BIASES, RENAMED, roberta_head
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["EUROBERT", "GTE", "JINA"]

ATTENTION = {
    "layers.{n}.self_attn.q_proj": "layers.{n}.q",
    "layers.{n}.self_attn.k_proj": "layers.{n}.k",
    "layers.{n}.self_attn.v_proj": "layers.{n}.v",
    "layers.{n}.self_attn.o_proj": "layers.{n}.attention_output",
}
JOINT = ("layers.{n}.q", "layers.{n}.k", "layers.{n}.v")
EMBEDDINGS = {
    "embeddings.word_embeddings": "embeddings.word",
    "embeddings.token_type_embeddings": "embeddings.token_type",
    "embeddings.LayerNorm": "embeddings.norm",
}
GATED = {
    "layers.{n}.mlp.gate_proj": "layers.{n}.ffn_in",
    "layers.{n}.mlp.up_proj": "layers.{n}.ffn_gate",
    "layers.{n}.mlp.down_proj": "layers.{n}.ffn_out",
}
POST_NORMS = {
    "layers.{n}.post_attention_layernorm": "layers.{n}.attention_norm",
    "layers.{n}.post_mlp_layernorm": "layers.{n}.ffn_norm",
}


def _sizes(config: Config, block: Block, types: int, norm: Norm | None) -> EncoderSpec:
    hidden = config.size("hidden_size")
    heads = config.heads(hidden)
    return EncoderSpec(
        model_type=str(config.raw["model_type"]),
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=config.size("intermediate_size"),
        vocabulary=config.size("vocab_size"),
        table=0,
        types=types,
        first_position=0,
        max_tokens=config.size("max_position_embeddings"),
        word_width=hidden,
        embedding_norm=norm,
        blocks=(block,) * config.size("num_hidden_layers"),
    )


def _read_gte(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("layer_norm_eps", 1e-12))
    block = Block(
        "post", norm, norm, config.activation("hidden_act", "gelu"), gated=True,
        theta=config.theta(160_000.0), biases=BIASES - {"ffn_in"},
    )  # fmt: skip
    return _sizes(config, block, config.size("type_vocab_size", 1, least=0), norm)


def _read_jina(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("layer_norm_eps", 1e-5))
    activation = config.activation("hidden_act", "gelu")
    block = Block("post", norm, norm, activation, theta=config.theta(20_000.0), biases=BIASES)
    return _sizes(config, block, config.size("type_vocab_size", 1), norm)


def _read_eurobert(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("rms_norm_eps", 1e-5), "rms", bias=False)
    attention, feed_forward = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    biases = {"q", "k", "v", "attention_output"} if attention else set()
    biases |= {"ffn_in", "ffn_gate", "ffn_out"} if feed_forward else set()
    block = Block(
        "pre", norm, norm, config.activation("hidden_act", "silu"), gated=True,
        theta=config.theta(10_000.0), biases=frozenset(biases),
    )  # fmt: skip
    spec = _sizes(config, block, 0, None)
    shared = config.get("num_key_value_heads", spec.heads)
    kv_heads = config.size("num_key_value_heads") if shared != spec.heads else spec.heads
    if spec.heads % kv_heads:
        config.refuse("num_key_value_heads")
    head_dim = spec.head_dim if config.get("head_dim") is None else config.size("head_dim")
    return replace(spec, kv_heads=kv_heads, head_dim=head_dim, final_norm=norm)


def _gte_head(config: Config, kind: str) -> HeadForm | None:
    match kind:
        case "classify":
            return HeadForm({"pooler.dense": "dense", "classifier": "output"}, "first", "tanh")
        case "tag":
            return HeadForm({"classifier": "output"})
    return None


def _jina_head(config: Config, kind: str) -> HeadForm | None:
    return roberta_head(config, kind) if kind != "choice" else None


def _eurobert_head(config: Config, kind: str) -> HeadForm | None:
    if kind == "tag":
        return HeadForm({"classifier": "output"})
    if kind != "classify":
        return None
    pool = config.choice("classifier_pooling", "late", "bos", "mean", "late")
    names = {"dense": "dense", "classifier": "output"}
    if pool == "bos":
        return HeadForm(names, "first", "gelu")
    return HeadForm(names, "mean" if pool == "mean" else "late", "gelu")


GTE = Family(
    types={"gte": ("Gte", "gte.")},
    read=_read_gte,
    modules=EMBEDDINGS
    | ATTENTION
    | GATED
    | POST_NORMS
    | {
        "layers.{n}.self_attn.qkv_proj": JOINT,
        "layers.{n}.mlp.up_gate_proj": ("layers.{n}.ffn_gate", "layers.{n}.ffn_in"),
    },
    head=_gte_head,
    idle=(r"pooler\.dense\..*", r"lm_head\..*"),
    renamed=RENAMED
    | {
        r"^new\.": "",
        r"^encoder\.layer\.": "layers.",
        r"\.attention\.": ".self_attn.",
        r"\.attn_ln\.": ".post_attention_layernorm.",
        r"\.mlp_ln\.": ".post_mlp_layernorm.",
    },
    retired={
        "new": "xopt runs no code of a checkpoint. transformers 5 has the same encoder as its own "
        "class: take a converted one, such as alibaba-nlp-community/gte-multilingual-base.",
    },
)

JINA = Family(
    types={"jina_embeddings_v3": ("JinaEmbeddingsV3", "roberta.")},
    read=_read_jina,
    modules=EMBEDDINGS
    | ATTENTION
    | POST_NORMS
    | {
        "layers.{n}.mlp.fc1": "layers.{n}.ffn_in",
        "layers.{n}.mlp.fc2": "layers.{n}.ffn_out",
        "layers.{n}.self_attn.Wqkv": JOINT,
    },
    head=_jina_head,
    idle=(r"pooler\.dense\..*", r"lm_head\..*"),
    renamed=RENAMED
    | {
        r"^emb_ln\.": "embeddings.LayerNorm.",
        r"^encoder\.layers\.": "layers.",
        r"\.mixer\.out_proj\.": ".self_attn.o_proj.",
        r"\.mixer\.": ".self_attn.",
        r"\.norm1\.": ".post_attention_layernorm.",
        r"\.norm2\.": ".post_mlp_layernorm.",
    },
)

EUROBERT = Family(
    types={"eurobert": ("EuroBert", "model.")},
    read=_read_eurobert,
    modules=ATTENTION
    | GATED
    | {
        "embed_tokens": "embeddings.word",
        "layers.{n}.input_layernorm": "layers.{n}.attention_norm",
        "layers.{n}.post_attention_layernorm": "layers.{n}.ffn_norm",
        "norm": "final_norm",
    },
    head=_eurobert_head,
    idle=(r"lm_head\..*",),
)
