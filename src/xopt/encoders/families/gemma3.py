"""EmbeddingGemma (Vera et al., 2025): Gemma 3's text layers without a causal mask."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.rotary import (
    ATTENTION,
    FULL,
    GATED,
    SLIDING,
    layer_kinds,
    rotary_sizes,
    shared_heads,
)
from xopt.encoders.families.turning import turning
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm
from xopt.errors import CheckpointError

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    if not config.flag("use_bidirectional_attention", False):
        raise CheckpointError(
            f"{config.where} is a decoder: its tokens see only those before them.",
            hint="xopt compiles encoders. Of this architecture that is EmbeddingGemma, whose "
            "config.json sets use_bidirectional_attention to true.",
        )
    config.refuse("attn_logit_softcapping")
    # Without it, its class counts windows in another way.
    config.refuse("is_causal", True)
    norm = Norm(config.epsilon("rms_norm_eps", 1e-6), "rms", bias=False, offset=1.0)
    turns = {
        FULL: turning(config, 1_000_000.0, FULL),
        SLIDING: turning(config, 10_000.0, SLIDING, old="rope_local_base_freq"),
    }
    # The config counts both sides; so does the class, whose bound a distance stays below.
    window = config.size("sliding_window", 4096, least=0) // 2
    biases = frozenset({"q", "k", "v", "attention_output"})
    block = Block(
        "both", norm, norm, config.activation("hidden_activation", "gelu_pytorch_tanh"), gated=True,
        head_norm=norm, biases=biases if config.flag("attention_bias", False) else frozenset(),
    )  # fmt: skip
    spec = rotary_sizes(config, block, None, head_dim=256)
    every = config.size("sliding_window_pattern", 6)
    kinds = layer_kinds(config, [SLIDING if (n + 1) % every else FULL for n in range(spec.layers)])
    blocks = [
        replace(block, rotary=turns[kind], window=window if kind == SLIDING else None)
        for kind in kinds
    ]
    return replace(
        spec,
        kv_heads=shared_heads(config, spec.heads, 4),
        blocks=tuple(blocks),
        final_norm=norm,
        word_scale=spec.hidden**0.5,
        query_width=config.size("query_pre_attn_scalar", 256),
    )


def _head(config: Config, kind: str) -> HeadForm | None:
    """None: the classes with a head read the last token of a decoder."""
    return None


FAMILY = Family(
    types={"gemma3_text": ("Gemma3Text", "model.")},
    read=_read,
    modules=ATTENTION
    | GATED
    | {
        "embed_tokens": "embeddings.word",
        "layers.{n}.self_attn.q_norm": "layers.{n}.q_norm",
        "layers.{n}.self_attn.k_norm": "layers.{n}.k_norm",
        "layers.{n}.input_layernorm": "layers.{n}.attention_norm",
        "layers.{n}.post_attention_layernorm": "layers.{n}.attention_norm_behind",
        "layers.{n}.pre_feedforward_layernorm": "layers.{n}.ffn_norm",
        "layers.{n}.post_feedforward_layernorm": "layers.{n}.ffn_norm_behind",
        "norm": "final_norm",
    },
    head=_head,
)
