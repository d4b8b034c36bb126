"""XLM-R XL and XXL (Goyal et al., 2021): XLM-R with the norms before each part."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.bert import MODULES, read, roberta_head
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec, Norm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    spec = read(config)
    norm = Norm(config.epsilon("layer_norm_eps", 1e-5))
    block = replace(spec.blocks[0], order="pre", attention_norm=norm, ffn_norm=norm)
    return replace(
        spec,
        types=config.size("type_vocab_size", 1),
        embedding_norm=None,
        blocks=(block,) * spec.layers,
        final_norm=norm,
    )


OWN = {
    "encoder.layer.{n}.attention.self_attn_layer_norm": "layers.{n}.attention_norm",
    "encoder.layer.{n}.LayerNorm": "layers.{n}.ffn_norm",
    "encoder.LayerNorm": "final_norm",
}
SHARED = {theirs: ours for theirs, ours in MODULES.items() if "norm" not in ours}

FAMILY = Family(
    types={"xlm-roberta-xl": ("XLMRobertaXL", "roberta.")},
    read=_read,
    modules=SHARED | OWN,
    head=roberta_head,
)
