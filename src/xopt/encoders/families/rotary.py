"""What the families with rotary positions (Su et al., 2021) share: names and sizes."""

from __future__ import annotations

from collections.abc import Sequence

from xopt.encoders.config import Config
from xopt.encoders.spec import Block, EncoderSpec, Norm
from xopt.errors import CheckpointError

__all__ = [
    "ATTENTION", "EMBEDDINGS", "FULL", "GATED", "JOINT", "POST_NORMS", "SLIDING", "check_pairs",
    "layer_kinds", "shared_heads", "sizes",
]  # fmt: skip

FULL, SLIDING = "full_attention", "sliding_attention"

ATTENTION = {
    "layers.{n}.self_attn.q_proj": "layers.{n}.q",
    "layers.{n}.self_attn.k_proj": "layers.{n}.k",
    "layers.{n}.self_attn.v_proj": "layers.{n}.v",
    "layers.{n}.self_attn.o_proj": "layers.{n}.attention_output",
}
JOINT = ("layers.{n}.q", "layers.{n}.k", "layers.{n}.v")
EMBEDDINGS = {
    "embeddings.word_embeddings": "embeddings.word",
    "embeddings.token_type_embeddings": "embeddings.token_type",
    "embeddings.LayerNorm": "embeddings.norm",
}
GATED = {
    "layers.{n}.mlp.gate_proj": "layers.{n}.ffn_in",
    "layers.{n}.mlp.up_proj": "layers.{n}.ffn_gate",
    "layers.{n}.mlp.down_proj": "layers.{n}.ffn_out",
}
POST_NORMS = {
    "layers.{n}.post_attention_layernorm": "layers.{n}.attention_norm",
    "layers.{n}.post_mlp_layernorm": "layers.{n}.ffn_norm",
}


def sizes(
    config: Config, block: Block, types: int, norm: Norm | None, *, most: int | None = None,
    head_dim: int | None = None,
) -> EncoderSpec:  # fmt: skip
    """An encoder of one kind of block, without a table of positions.

    Args:
        config: of the checkpoint.
        block: every layer's.
        types: rows of the table of token types.
        norm: behind the embeddings.
        most: tokens of a text where the config names none.
        head_dim: width of a head where the config names none; a share of the hidden size if None.

    Raises:
        CheckpointError: a size is missing, or the heads fit it not.
    """
    hidden = config.size("hidden_size")
    heads = config.heads(hidden)
    given = config.get("head_dim", head_dim) is not None
    width = config.size("head_dim", head_dim) if given else hidden // heads
    check_pairs(config, width)
    return EncoderSpec(
        model_type=str(config.raw["model_type"]),
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=width,
        intermediate=config.size("intermediate_size"),
        vocabulary=config.size("vocab_size"),
        table=0,
        types=types,
        first_position=0,
        max_tokens=config.size("max_position_embeddings", most),
        word_width=hidden,
        embedding_norm=norm,
        blocks=(block,) * config.size("num_hidden_layers"),
    )


def check_pairs(config: Config, width: int) -> None:
    """Refuse heads whose values do not come in pairs.

    Raises:
        CheckpointError: the width of a head is odd.
    """
    if width % 2:
        raise CheckpointError(
            f"{config.where}: a head of {width} values has no pairs that rotary positions rotate."
        )


def shared_heads(config: Config, heads: int, default: int | None = None) -> int:
    """Heads of keys and values, each of which serves as many of the queries'.

    Args:
        config: of the checkpoint.
        heads: of the queries.
        default: where the config names none; as many as the queries' if None.

    Raises:
        CheckpointError: they cannot be shared out.
    """
    shared = default or heads
    if config.get("num_key_value_heads") is not None:
        shared = config.size("num_key_value_heads")
    if heads % shared:
        raise CheckpointError(
            f"{config.where}: {heads} heads cannot share {shared} key and value heads."
        )
    return shared


def layer_kinds(config: Config, default: Sequence[str]) -> list[str]:
    """Which layers see the whole text and which a window of it.

    Raises:
        CheckpointError: ``layer_types`` is no such list.
    """
    kinds = config.get("layer_types", list(default))
    if not isinstance(kinds, list) or len(kinds) != len(default) or set(kinds) - {FULL, SLIDING}:
        raise CheckpointError(
            f"{config.where}: layer_types is {kinds!r}; supported: {FULL} or {SLIDING} for each "
            f"of {len(default)} layers."
        )
    return kinds
