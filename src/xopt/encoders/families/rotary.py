"""What the families with rotary positions (Su et al., 2021) share: names and heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xopt.encoders.config import Config
from xopt.encoders.families.sizes import sizes
from xopt.encoders.spec import Block, EncoderSpec, Norm
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = [
    "ATTENTION", "EMBEDDINGS", "FULL", "GATED", "JOINT", "POST_NORMS", "SLIDING", "check_pairs",
    "layer_kinds", "rotary_sizes", "shared_heads",
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


def rotary_sizes(
    config: Config, block: Block, norm: Norm | None, *, types: int = 0, most: int | None = None,
    head_dim: int | None = None,
) -> EncoderSpec:  # fmt: skip
    """As ``sizes``, with heads that may have a width of their own.

    Args:
        config: of the checkpoint.
        block: every layer's.
        norm: behind the embeddings.
        types: rows of the table of token types.
        most: tokens of a text where the config names none.
        head_dim: width of a head where the config names none; a share of the hidden size if None.

    Raises:
        CheckpointError: a size is missing, or a head has no pairs.
    """
    spec = sizes(config, block, norm, types=types, most=most)
    if config.get("head_dim", head_dim) is not None:
        spec = replace(spec, head_dim=config.size("head_dim", head_dim))
    check_pairs(config, spec.head_dim)
    return spec


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
            f"{config.where}: layer_types is {spelled(kinds)}; supported: {FULL} or {SLIDING} for "
            f"each of {len(default)} layers."
        )
    return kinds
