"""ELECTRA (Clark et al., 2020): BERT's block behind embeddings that may be narrower."""

from __future__ import annotations

from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.bert import MODULES, RENAMED, read, token_head
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec, HeadForm

__all__ = ["FAMILY"]


def _read(config: Config) -> EncoderSpec:
    spec, width = read(config), config.size("embedding_size", 128)
    # It counts positions from 0, as BERT does, whatever its padding's id is.
    return replace(spec, first_position=0, max_tokens=spec.table, word_width=width)


def _head(config: Config, kind: str) -> HeadForm | None:
    if kind == "classify":
        names = {"classifier.dense": "dense", "classifier.out_proj": "output"}
        return HeadForm(names, "first", "gelu")
    if kind == "choice":
        # The last token or the mean of its class would be those of the padding.
        config.choice("summary_type", "first", "first")
        config.refuse("summary_use_proj", True)
        config.refuse("summary_proj_to_labels", False)
        names = {"sequence_summary.summary": "dense", "classifier": "output"}
        return HeadForm(names, "first", config.activation("summary_activation", "gelu"))
    return token_head(kind)


FAMILY = Family(
    types={"electra": ("Electra", "electra.")},
    read=_read,
    modules=MODULES | {"embeddings_project": "embeddings.project"},
    head=_head,
    renamed=RENAMED,
)
