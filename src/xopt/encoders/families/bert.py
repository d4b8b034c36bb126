"""BERT (Devlin et al., 2019), RoBERTa, XLM-RoBERTa and CamemBERT."""

from __future__ import annotations

from xopt.encoders.config import UNLIKE, Config
from xopt.encoders.families.sizes import sizes
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["BIASES", "FAMILY", "MODULES", "POOLER", "RENAMED", "read", "roberta_head", "token_head"]

# jina-embeddings-v3 as first published has XLM-R's model_type, and code of its own for the rest.
ROTARY = (
    "xopt runs no code of a checkpoint. transformers 5 has jina-embeddings-v3's encoder as its own "
    "class: take jinaai/jina-embeddings-v3-hf."
)
BIASES = frozenset(("q", "k", "v", "attention_output", "ffn_in", "ffn_out"))


def read(config: Config) -> EncoderSpec:
    """The block of BERT with the sizes of a config."""
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise CheckpointError(
            f"{config.where} uses {spelled(positions)} positions; supported: 'absolute'.",
            hint=ROTARY if positions == "rotary" else UNLIKE,
        )
    for name in ("is_decoder", "add_cross_attention"):
        # Each token would see those before it alone.
        config.refuse(name, False)
    activation = config.activation("hidden_act", "gelu")
    # RoBERTa counts positions from behind its padding's id.
    first = config.padding(1) + 1 if config.raw["model_type"] != "bert" else 0
    norm = Norm(config.epsilon("layer_norm_eps", 1e-12))
    block = Block("post", norm, norm, activation, biases=BIASES)
    return sizes(config, block, norm, types=config.size("type_vocab_size", 2), first=first)


def roberta_head(config: Config, kind: str) -> HeadForm | None:
    """As the classes of RoBERTa and of what descends from it have them."""
    if kind == "classify":
        names = {"classifier.dense": "dense", "classifier.out_proj": "output"}
        return HeadForm(names, "first", "tanh")
    return _head(config, kind)


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind in ("classify", "choice"):
        return HeadForm({"pooler.dense": "dense", "classifier": "output"}, "first", "tanh")
    return token_head(kind)


def token_head(kind: str) -> HeadForm | None:
    """One linear layer over every token, under the names of BERT and of most that came after."""
    match kind:
        case "tag":
            return HeadForm({"classifier": "output"})
        case "span":
            return HeadForm({"qa_outputs": "output"})
    return None


def _any_head(config: Config, kind: str) -> HeadForm | None:
    return (_head if config.raw["model_type"] == "bert" else roberta_head)(config, kind)


MODULES = {
    "embeddings.word_embeddings": "embeddings.word",
    "embeddings.position_embeddings": "embeddings.position",
    "embeddings.token_type_embeddings": "embeddings.token_type",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{n}.attention.self.query": "layers.{n}.q",
    "encoder.layer.{n}.attention.self.key": "layers.{n}.k",
    "encoder.layer.{n}.attention.self.value": "layers.{n}.v",
    "encoder.layer.{n}.attention.output.dense": "layers.{n}.attention_output",
    "encoder.layer.{n}.attention.output.LayerNorm": "layers.{n}.attention_norm",
    "encoder.layer.{n}.intermediate.dense": "layers.{n}.ffn_in",
    "encoder.layer.{n}.output.dense": "layers.{n}.ffn_out",
    "encoder.layer.{n}.output.LayerNorm": "layers.{n}.ffn_norm",
}
# In every second checkpoint, whether its head reads it or not.
POOLER = "pooler.dense."
# Checkpoints converted from TensorFlow call LayerNorm's weight gamma and its bias beta.
RENAMED = {r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"}

FAMILY = Family(
    types={
        "bert": ("Bert", "bert."),
        "roberta": ("Roberta", "roberta."),
        "xlm-roberta": ("XLMRoberta", "roberta."),
        "camembert": ("Camembert", "roberta."),
    },
    read=read,
    modules=MODULES,
    head=_any_head,
    renamed=RENAMED,
)
