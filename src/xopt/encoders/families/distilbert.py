"""DistilBERT (Sanh et al., 2019): BERT without token types and without a pooler."""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.families.bert import BIASES, RENAMED, token_head
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    hidden = config.size("dim")
    heads = config.heads(hidden, "n_heads")
    # No option of its config: the class says so.
    norm = Norm(1e-12)
    positions = config.size("max_position_embeddings", 512)
    activation = config.activation("activation", "gelu", "gelu", "relu")
    block = Block("post", norm, norm, activation, biases=BIASES)
    return EncoderSpec(
        model_type="distilbert",
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=config.size("hidden_dim"),
        vocabulary=config.size("vocab_size"),
        table=positions,
        types=0,
        first_position=0,
        max_tokens=positions,
        word_width=hidden,
        embedding_norm=norm,
        blocks=(block,) * config.size("n_layers"),
    )


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind in ("classify", "choice"):
        names = {"pre_classifier": "dense", "classifier": "output"}
        return HeadForm(names, "first", "relu")
    return token_head(kind)


FAMILY = Family(
    types={"distilbert": ("DistilBert", "distilbert.")},
    read=_read,
    modules={
        "embeddings.word_embeddings": "embeddings.word",
        "embeddings.position_embeddings": "embeddings.position",
        "embeddings.LayerNorm": "embeddings.norm",
        "transformer.layer.{n}.attention.q_lin": "layers.{n}.q",
        "transformer.layer.{n}.attention.k_lin": "layers.{n}.k",
        "transformer.layer.{n}.attention.v_lin": "layers.{n}.v",
        "transformer.layer.{n}.attention.out_lin": "layers.{n}.attention_output",
        "transformer.layer.{n}.sa_layer_norm": "layers.{n}.attention_norm",
        "transformer.layer.{n}.ffn.lin1": "layers.{n}.ffn_in",
        "transformer.layer.{n}.ffn.lin2": "layers.{n}.ffn_out",
        "transformer.layer.{n}.output_layer_norm": "layers.{n}.ffn_norm",
    },
    head=_head,
    renamed=RENAMED,
)
