"""DeBERTa-v2 and v3 (He et al., 2021): mDeBERTa. BERT's block with disentangled positions."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import UNLIKE, Config
from xopt.encoders.families.bert import BIASES, token_head
from xopt.encoders.families.sizes import sizes
from xopt.encoders.family import Family
from xopt.encoders.spec import Block, EncoderSpec, HeadForm, Norm, Relative
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["FAMILY"]

TERMS = ("c2p", "p2c")


def _read(config: Config) -> EncoderSpec:
    norm = Norm(config.epsilon("layer_norm_eps", 1e-7))
    block = Block("post", norm, norm, config.activation("hidden_act", "gelu"), biases=BIASES)
    types = config.size("type_vocab_size", 0, least=0)
    first = 0 if config.flag("position_biased_input", True) else None
    spec = sizes(config, block, norm, types=types, first=first, most=512)
    config.refuse("embedding_size", spec.hidden)
    config.refuse("attention_head_size", spec.head_dim)
    config.refuse("conv_kernel_size", 0)
    terms = _terms(config)
    relative = _relative(config, terms, spec.max_tokens, norm)
    return replace(
        spec,
        # Without a term the table of distances is read by nothing.
        relative=relative if terms else None,
        # Its own class counts the terms here also where there are no relative positions.
        score_parts=1 + len(terms),
    )


def _terms(config: Config) -> frozenset[str]:
    """``p2c|c2p`` or a list; each counts once."""
    found = config.get("pos_att_type", [])
    names = [part.strip() for part in found.lower().split("|")] if isinstance(found, str) else found
    if not isinstance(names, list) or any(name not in TERMS for name in names):
        raise CheckpointError(
            f"{config.where}: pos_att_type is {spelled(found)}; supported: {', '.join(TERMS)}.",
            hint=UNLIKE,
        )
    return frozenset(names)


def _relative(config: Config, terms: frozenset[str], positions: int, norm: Norm) -> Relative | None:
    if not config.flag("relative_attention", False):
        return None
    reach, buckets = config.get("max_relative_positions", -1), config.get("position_buckets", -1)
    for name, value in (("max_relative_positions", reach), ("position_buckets", buckets)):
        if type(value) is not int or value == 1:
            raise CheckpointError(
                f"{config.where}: {name} is {spelled(value)}, which gives no scale."
            )
    reach = positions if reach < 1 else reach
    kinds = str(config.get("norm_rel_ebd", "none")).lower().split("|")
    return Relative(
        terms,
        rows=2 * (buckets if buckets > 0 else reach),
        buckets=buckets if buckets > 0 else None,
        reach=reach,
        shared=config.flag("share_att_key", False),
        norm=norm if "layer_norm" in [kind.strip() for kind in kinds] else None,
    )


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind in ("classify", "choice"):
        config.refuse("pooler_hidden_size", config.size("hidden_size"))
        names = {"pooler.dense": "dense", "classifier": "output"}
        return HeadForm(names, "first", config.activation("pooler_hidden_act", "gelu"))
    return token_head(kind)


FAMILY = Family(
    types={"deberta-v2": ("DebertaV2", "deberta.")},
    read=_read,
    modules={
        "embeddings.word_embeddings": "embeddings.word",
        "embeddings.position_embeddings": "embeddings.position",
        "embeddings.token_type_embeddings": "embeddings.token_type",
        "embeddings.LayerNorm": "embeddings.norm",
        "encoder.layer.{n}.attention.self.query_proj": "layers.{n}.q",
        "encoder.layer.{n}.attention.self.key_proj": "layers.{n}.k",
        "encoder.layer.{n}.attention.self.value_proj": "layers.{n}.v",
        "encoder.layer.{n}.attention.self.pos_key_proj": "layers.{n}.c2p",
        "encoder.layer.{n}.attention.self.pos_query_proj": "layers.{n}.p2c",
        "encoder.layer.{n}.attention.output.dense": "layers.{n}.attention_output",
        "encoder.layer.{n}.attention.output.LayerNorm": "layers.{n}.attention_norm",
        "encoder.layer.{n}.intermediate.dense": "layers.{n}.ffn_in",
        "encoder.layer.{n}.output.dense": "layers.{n}.ffn_out",
        "encoder.layer.{n}.output.LayerNorm": "layers.{n}.ffn_norm",
        "encoder.rel_embeddings": "relative.table",
        "encoder.LayerNorm": "relative.norm",
    },
    head=_head,
    idle=(
        r"embeddings\.position_embeddings\.weight",
        r"encoder\.(rel_embeddings|LayerNorm)\..*",
        r"encoder\.layer\.\d+\.attention\.self\.pos_(key|query)_proj\..*",
    ),
)
