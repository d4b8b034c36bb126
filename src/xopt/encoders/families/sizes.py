"""The sizes of an encoder, read from a config in one place for every family."""

from __future__ import annotations

from collections.abc import Mapping

from xopt.encoders.config import Config
from xopt.encoders.spec import Block, EncoderSpec, Norm

__all__ = ["sizes"]


def sizes(
    config: Config, block: Block, norm: Norm | None, *, types: int = 0, first: int | None = None,
    most: int | None = None, names: Mapping[str, str] | None = None,
) -> EncoderSpec:  # fmt: skip
    """An encoder of one kind of block.

    Args:
        config: of the checkpoint.
        block: every layer's.
        norm: behind the embeddings.
        types: rows of the table of token types.
        first: position id of a text's first token; None where there is no table of positions.
        most: positions where the config names none; it must, if None.
        names: what this config calls a size, where that is not the usual name.

    Raises:
        CheckpointError: a size is missing or no whole number.
    """
    called = names or {}
    hidden_name, heads_name, inner_name, layers_name = (
        called.get(name, name)
        for name in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    hidden = config.size(hidden_name)
    heads = config.heads(hidden, heads_name)
    positions = config.size("max_position_embeddings", most)
    return EncoderSpec(
        model_type=str(config.raw["model_type"]),
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=config.size(inner_name),
        vocabulary=config.size("vocab_size"),
        table=0 if first is None else positions,
        types=types,
        first_position=first or 0,
        max_tokens=positions - (first or 0),
        word_width=hidden,
        embedding_norm=norm,
        blocks=(block,) * config.size(layers_name),
    )
