"""What the families with rotary positions (Su et al., 2021) share: names and sizes."""

from __future__ import annotations

from xopt.encoders.config import Config
from xopt.encoders.spec import Block, EncoderSpec, Norm

__all__ = ["ATTENTION", "EMBEDDINGS", "GATED", "JOINT", "POST_NORMS", "sizes"]

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


def sizes(config: Config, block: Block, types: int, norm: Norm | None) -> EncoderSpec:
    """An encoder of one kind of block, without a table of positions."""
    hidden = config.size("hidden_size")
    heads = config.heads(hidden)
    return EncoderSpec(
        model_type=str(config.raw["model_type"]),
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        intermediate=config.size("intermediate_size"),
        vocabulary=config.size("vocab_size"),
        table=0,
        types=types,
        first_position=0,
        max_tokens=config.size("max_position_embeddings"),
        word_width=hidden,
        embedding_norm=norm,
        blocks=(block,) * config.size("num_hidden_layers"),
    )
