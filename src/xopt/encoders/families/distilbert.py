"""DistilBERT (Sanh et al., 2019): BERT without token types and without a pooler."""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.families.bert import BIASES, RENAMED, token_head
from xopt.encoders.families.sizes import sizes
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm

__all__ = ["FAMILY"]

NAMES = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "num_hidden_layers": "n_layers",
}


def _read(config: Config) -> EncoderSpec:
    for usual in ("hidden_size", "num_attention_heads", "num_hidden_layers"):
        # Its class takes either name, and the usual one where both are there.
        config.refuse(usual, config.get(NAMES[usual]))
    # No option of its config: the class says so.
    norm = Norm(1e-12)
    activation = config.activation("activation", "gelu", "gelu", "relu")
    block = Block("post", norm, norm, activation, biases=BIASES)
    return sizes(config, block, norm, first=0, most=512, names=NAMES)


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
