"""RoFormer (Su et al., 2021): BERT's block with rotary positions whose angles are stored."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.bert import MODULES, RENAMED, read, token_head
from xopt.encoders.families.rotary import check_pairs
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec, HeadForm, Rotary

__all__ = ["FAMILY"]

# No option of its config, and no use: the angles lie in the checkpoint.
BASE = 10_000.0


def _read(config: Config) -> EncoderSpec:
    spec = read(config)
    check_pairs(config, spec.head_dim)
    narrow = config.get("embedding_size") is not None
    [block] = set(spec.blocks)
    block = replace(block, rotary=Rotary(BASE), turns_values=config.flag("rotary_value", False))
    return replace(
        spec,
        blocks=(block,) * spec.layers,
        word_width=config.size("embedding_size") if narrow else spec.hidden,
        table=0,
        first_position=0,
        max_tokens=config.size("max_position_embeddings", 1536),
        side_by_side=True,
        stored_angles=True,
    )


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind == "classify":
        names = {"classifier.dense": "dense", "classifier.out_proj": "output"}
        return HeadForm(names, "first", config.activation("hidden_act", "gelu"))
    return token_head(kind)


FAMILY = Family(
    types={"roformer": ("RoFormer", "roformer.")},
    read=_read,
    modules={name: ours for name, ours in MODULES.items() if ours != "embeddings.position"}
    | {
        "embeddings_project": "embeddings.project",
        "encoder.embed_positions": "rotary.table",
    },
    head=_head,
    # Of no layer, where the embeddings are pooled.
    idle=(r"encoder\.embed_positions\.weight",),
    renamed=RENAMED,
)
