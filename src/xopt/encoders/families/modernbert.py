"""ModernBERT (Warner et al., 2024): mmBERT, granite-embedding-multilingual-r2.

Rotary positions with two bases, GeGLU, norms before each part, windows in two of three layers.
"""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.rotary import FULL, SLIDING, layer_kinds, rotary_sizes
from xopt.encoders.families.turning import turning
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    norm = _norm(config)
    attention, feed_forward = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    biases = {"q", "k", "v", "attention_output"} if attention else set()
    biases |= {"ffn_in", "ffn_gate", "ffn_out"} if feed_forward else set()
    activation = config.activation("hidden_activation", "gelu")
    turns = {
        FULL: turning(config, 160_000.0, FULL, old="global_rope_theta"),
        SLIDING: turning(config, 10_000.0, SLIDING, old="local_rope_theta"),
    }
    # The config counts both sides, or one under the name that its class has beside it.
    window = config.size("local_attention", 128) // 2
    if config.get("sliding_window") is not None:
        window = config.size("sliding_window", least=0)
    block = Block("pre", norm, norm, activation, gated=True, biases=frozenset(biases))
    spec = rotary_sizes(config, block, norm, most=8192)
    # Its class would rotate by it and cut heads without it.
    config.refuse("head_dim", spec.hidden // spec.heads)
    # Older configs say how often a layer sees the whole text.
    every = config.size("global_attn_every_n_layers", 3)
    kinds = layer_kinds(config, [SLIDING if n % every else FULL for n in range(spec.layers)])
    blocks = [
        replace(block, rotary=turns[kind], window=window if kind == SLIDING else None)
        for kind in kinds
    ]
    # The norm of the embeddings stands in its place.
    blocks[0] = replace(blocks[0], attention_norm=None)
    return replace(spec, blocks=tuple(blocks), final_norm=norm)


def _norm(config: Config) -> Norm:
    return Norm(config.epsilon("norm_eps", 1e-5), bias=config.flag("norm_bias", False))


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
