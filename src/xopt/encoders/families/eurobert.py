"""EuroBERT (Boizard et al., 2025): RMSNorm before each part, grouped key and value heads."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.rotary import ATTENTION, GATED, rotary_sizes, shared_heads
from xopt.encoders.families.turning import turning
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("rms_norm_eps", 1e-5), "rms", bias=False)
    attention, feed_forward = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    biases = {"q", "k", "v", "attention_output"} if attention else set()
    biases |= {"ffn_in", "ffn_gate", "ffn_out"} if feed_forward else set()
    block = Block(
        "pre", norm, norm, config.activation("hidden_act", "silu"), gated=True,
        rotary=turning(config, 10_000.0), biases=frozenset(biases),
    )  # fmt: skip
    spec = rotary_sizes(config, block, None)
    return replace(spec, kv_heads=shared_heads(config, spec.heads), final_norm=norm)


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind == "tag":
        return HeadForm({"classifier": "output"})
    if kind != "classify":
        return None
    pool = config.choice("classifier_pooling", "late", "bos", "mean", "late")
    names = {"dense": "dense", "classifier": "output"}
    if pool == "bos":
        return HeadForm(names, "first", "gelu")
    return HeadForm(names, "mean" if pool == "mean" else "late", "gelu")


FAMILY = Family(
    types={"eurobert": ("EuroBert", "model.")},
    read=_read,
    modules=ATTENTION
    | GATED
    | {
        "embed_tokens": "embeddings.word",
        "layers.{n}.input_layernorm": "layers.{n}.attention_norm",
        "layers.{n}.post_attention_layernorm": "layers.{n}.ffn_norm",
        "norm": "final_norm",
    },
    head=_head,
)
