"""jina-embeddings-v3 (Sturua et al., 2024) without adapters.

Its first checkpoints have another spelling, in which transformers 5 saves it too.
"""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.families.bert import BIASES, RENAMED, roberta_head
from xopt.encoders.families.rotary import ATTENTION, EMBEDDINGS, JOINT, POST_NORMS, rotary_sizes
from xopt.encoders.families.turning import turning
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("layer_norm_eps", 1e-5))
    activation = config.activation("hidden_act", "gelu")
    block = Block("post", norm, norm, activation, rotary=turning(config, 20_000.0), biases=BIASES)
    return rotary_sizes(config, block, norm, types=config.size("type_vocab_size", 1))


def _head(config: Config, kind: str) -> HeadForm | None:
    return roberta_head(config, kind) if kind != "choice" else None


FAMILY = Family(
    types={"jina_embeddings_v3": ("JinaEmbeddingsV3", "roberta.")},
    read=_read,
    modules=EMBEDDINGS
    | ATTENTION
    | POST_NORMS
    | {
        "layers.{n}.mlp.fc1": "layers.{n}.ffn_in",
        "layers.{n}.mlp.fc2": "layers.{n}.ffn_out",
        "layers.{n}.self_attn.Wqkv": JOINT,
    },
    head=_head,
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
