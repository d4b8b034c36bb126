"""ModernBERT (Warner et al., 2024): mmBERT, granite-embedding-multilingual-r2.

Rotary positions with two bases, GeGLU, norms before each part, windows in two of three layers.
"""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm
from xopt.errors import CheckpointError

__all__ = ["FAMILY"]

FULL, SLIDING = "full_attention", "sliding_attention"


def _read(config: Config) -> EncoderSpec:
    hidden = config.size("hidden_size")
    heads = config.heads(hidden)
    norm = _norm(config)
    attention, feed_forward = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    biases = {"q", "k", "v", "attention_output"} if attention else set()
    biases |= {"ffn_in", "ffn_gate", "ffn_out"} if feed_forward else set()
    activation = config.activation("hidden_activation", "gelu")
    bases = {
        FULL: config.theta(160_000.0, FULL, old="global_rope_theta"),
        SLIDING: config.theta(10_000.0, SLIDING, old="local_rope_theta"),
    }
    # The config counts both sides.
    window = config.size("local_attention", 128) // 2
    blocks = [
        Block(
            order="pre",
            # The norm of the embeddings stands in its place.
            attention_norm=norm if number else None,
            ffn_norm=norm,
            activation=activation,
            gated=True,
            theta=bases[kind],
            window=window if kind == SLIDING else None,
            biases=frozenset(biases),
        )
        for number, kind in enumerate(_kinds(config))
    ]
    return EncoderSpec(
        model_type="modernbert",
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=config.size("intermediate_size"),
        vocabulary=config.size("vocab_size"),
        table=0,
        types=0,
        first_position=0,
        max_tokens=config.size("max_position_embeddings", 8192),
        word_width=hidden,
        embedding_norm=norm,
        blocks=tuple(blocks),
        final_norm=norm,
    )


def _norm(config: Config) -> Norm:
    return Norm(config.epsilon("norm_eps", 1e-5), bias=config.flag("norm_bias", False))


def _kinds(config: Config) -> list[str]:
    """Of each layer; older configs say how often one sees the whole text."""
    layers = config.size("num_hidden_layers")
    every = config.size("global_attn_every_n_layers", 3)
    kinds = config.get("layer_types", [SLIDING if n % every else FULL for n in range(layers)])
    if not isinstance(kinds, list) or len(kinds) != layers or set(kinds) - {FULL, SLIDING}:
        raise CheckpointError(
            f"{config.where}: layer_types is {kinds!r}; supported: {FULL} or {SLIDING} for each "
            f"of {layers} layers."
        )
    return kinds


def _head(config: Config, kind: str) -> HeadForm | None:
    pool = config.choice("classifier_pooling", "cls", "cls", "mean")
    per_token = kind in ("tag", "span")
    return HeadForm(
        {"head.dense": "dense", "head.norm": "norm", "classifier": "output"},
        pool="token" if per_token else "first" if pool == "cls" else "mean",
        activation=config.activation("classifier_activation", "gelu"),
        dense_bias=config.flag("classifier_bias", False),
        norm=_norm(config),
    )


FAMILY = Family(
    types={"modernbert": ("ModernBert", "model.")},
    read=_read,
    modules={
        "embeddings.tok_embeddings": "embeddings.word",
        "embeddings.norm": "embeddings.norm",
        "layers.{n}.attn.Wqkv": ("layers.{n}.q", "layers.{n}.k", "layers.{n}.v"),
        "layers.{n}.attn.Wo": "layers.{n}.attention_output",
        "layers.{n}.attn_norm": "layers.{n}.attention_norm",
        "layers.{n}.mlp.Wi": ("layers.{n}.ffn_in", "layers.{n}.ffn_gate"),
        "layers.{n}.mlp.Wo": "layers.{n}.ffn_out",
        "layers.{n}.mlp_norm": "layers.{n}.ffn_norm",
        "final_norm": "final_norm",
    },
    head=_head,
)
