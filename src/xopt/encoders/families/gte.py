"""GTE (Zhang et al., 2024): gte-multilingual, snowflake-arctic-embed-m-v2.

Its first checkpoints have another spelling, in which transformers 5 saves it too.
"""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.families.bert import BIASES, RENAMED
from xopt.encoders.families.rotary import (
    ATTENTION,
    EMBEDDINGS,
    GATED,
    JOINT,
    POST_NORMS,
    rotary_sizes,
)
from xopt.encoders.families.turning import turning
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("layer_norm_eps", 1e-12))
    block = Block(
        "post", norm, norm, config.activation("hidden_act", "gelu"), gated=True,
        rotary=turning(config, 160_000.0), biases=BIASES - {"ffn_in"},
    )  # fmt: skip
    return rotary_sizes(config, block, norm, types=config.size("type_vocab_size", 1, least=0))


def _head(config: Config, kind: str) -> HeadForm | None:
    match kind:
        case "classify":
            return HeadForm({"pooler.dense": "dense", "classifier": "output"}, "first", "tanh")
        case "tag":
            return HeadForm({"classifier": "output"})
    return None


FAMILY = Family(
    types={"gte": ("Gte", "gte.")},
    read=_read,
    modules=EMBEDDINGS
    | ATTENTION
    | GATED
    | POST_NORMS
    | {
        "layers.{n}.self_attn.qkv_proj": JOINT,
        "layers.{n}.mlp.up_gate_proj": ("layers.{n}.ffn_gate", "layers.{n}.ffn_in"),
    },
    head=_head,
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
