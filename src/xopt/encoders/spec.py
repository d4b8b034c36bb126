"""The description of an encoder: sizes, positions, and what every layer is made of.

Frozen values without torch or onnx. A family (:mod:`xopt.encoders.families`) reads one from a
checkpoint's config; :func:`xopt.encoders.plan.plan` makes it the list of operations that every
interpreter follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "ACTIVATIONS", "SITES", "Activation", "Block", "EncoderSpec", "HeadForm", "Norm", "Relative",
    "Rotary", "named_layers", "products_in_int8",
]  # fmt: skip

Activation = Literal["gelu", "gelu_tanh", "silu", "relu", "tanh"]

# A name in config.json -> ours. The same curve has several names there.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "tanh": "tanh",
}

# A linear layer of a block -> the site that it reads. Layers of one site are in their order here.
SITES = {
    "qkv": "qkv_in",
    "q": "qkv_in",
    "k": "qkv_in",
    "v": "qkv_in",
    "attention_output": "context",
    "ffn_in": "ffn_in",
    "ffn_gate": "ffn_in",
    "ffn_out": "ffn_act",
}


def named_layers(sites: Sequence[str]) -> str:
    """Sites as a person reads them: in the encoder's order, a layer of which all are named as one.

    Args:
        sites: such as ``layers.10.context`` and ``embeddings``.
    """
    kinds = list(dict.fromkeys(SITES.values()))
    layers: dict[int, list[str]] = {}
    for _, at, kind in (site.split(".") for site in sites if "." in site):
        layers.setdefault(int(at), []).append(kind)
    said = [site for site in sites if "." not in site]
    for number, held in sorted(layers.items()):
        whole = set(kinds) <= set(held)
        names = [""] if whole else [f".{kind}" for kind in sorted(held, key=kinds.index)]
        said += [f"layers.{number}{name}" for name in names]
    return ", ".join(said)


def products_in_int8(manifest: Mapping[str, Any]) -> bool:
    """Whether an INT8 bundle has a product in INT8; without one it holds on every CPU.

    Args:
        manifest: of the bundle.
    """
    engine = manifest["engine"]
    others = {*engine.get("fp32_sites", ()), *engine.get("bf16_sites", ())}
    named = sum("." in site for site in others)
    return named < len(set(SITES.values())) * int(manifest["shape"]["layers"])


@dataclass(frozen=True)
class Norm:
    """LayerNorm (Ba et al., 2016) or RMSNorm (Zhang and Sennrich, 2019).

    Attributes:
        epsilon: added to the variance or to the mean square.
        kind: ``layer`` or ``rms``.
        bias: whether a learned bias is added; an RMSNorm has none.
        offset: what is added to the weight as the checkpoint has it.
    """

    epsilon: float
    kind: Literal["layer", "rms"] = "layer"
    bias: bool = True
    offset: float = 0.0


@dataclass(frozen=True)
class Rotary:
    """Rotary positions (Su et al., 2021): how fast each pair of a head's values turns.

    Attributes:
        theta: base of the angles.
        scaling: how angles are divided for longer texts than it was trained on: ``linear``, all of
            them; ``llama3`` (Grattafiori et al., 2024) and ``yarn`` (Peng et al., 2024), slow ones.
        factor: by which they are.
        slow: turns over the trained length, up to which a pair is slow.
        fast: turns from which its angles stay as they are.
        trained: the trained length, in tokens.
        gain: what cosine and sine are multiplied by.
        whole: whether ``yarn`` begins and ends to divide at whole pairs.
    """

    theta: float
    scaling: Literal["linear", "llama3", "yarn"] | None = None
    factor: float = 1.0
    slow: float = 1.0
    fast: float = 1.0
    trained: int = 1
    gain: float = 1.0
    whole: bool = True


@dataclass(frozen=True)
class Relative:
    """Disentangled positions (He et al., 2021): scores of contents and of distances are added.

    Attributes:
        terms: ``c2p`` (the query's content and the distance) and ``p2c`` (the distance and the
            key's content), either, both or none.
        rows: of the learned table of distances; half of them look back, half ahead.
        buckets: how many distances are told apart, further ones on a logarithmic scale; None for
            all.
        reach: the distance at which the logarithmic scale ends.
        shared: whether a layer's projections of queries and keys project the table too; otherwise
            each term has a projection of its own.
        norm: of the table.
    """

    terms: frozenset[str]
    rows: int
    buckets: int | None
    reach: int
    shared: bool
    norm: Norm | None


@dataclass(frozen=True)
class Block:
    """One layer: attention and a feed-forward part, each with a residual.

    Attributes:
        order: whether each part's norm stands before it (``pre``), after its residual (``post``),
            or one before it and one behind it, inside of the residual (``both``).
        attention_norm: of the attention part; None where a family leaves it out.
        ffn_norm: of the feed-forward part.
        activation: of the feed-forward part.
        gated: whether the activation is multiplied by a second projection (Shazeer, 2020).
        rotary: positions of queries and keys; None for none.
        head_norm: of each head's queries and keys, before they are rotated; None for none.
        turns_values: whether the values are rotated as well.
        window: how far a token sees to each side; None for the whole text.
        biases: the linear layers that have one, of ``q, k, v, attention_output, ffn_in, ffn_gate,
            ffn_out``.
    """

    order: Literal["pre", "post", "both"]
    attention_norm: Norm | None
    ffn_norm: Norm
    activation: Activation = "gelu"
    gated: bool = False
    rotary: Rotary | None = None
    head_norm: Norm | None = None
    turns_values: bool = False
    window: int | None = None
    biases: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EncoderSpec:
    """A whole encoder.

    Attributes:
        model_type: as config.json names it.
        hidden: width of the states.
        heads: of the queries.
        kv_heads: of keys and values; each serves ``heads / kv_heads`` of the queries'.
        head_dim: width of one head.
        intermediate: width of the feed-forward part.
        vocabulary: rows of the word embeddings.
        table: rows of the table of absolute positions; 0 where there is none.
        types: rows of the table of token types; 0 where there is none.
        first_position: position id of a sentence's first token.
        max_tokens: the longest sentence, special tokens included.
        word_width: width of the embeddings, projected to ``hidden`` where it differs.
        embedding_norm: behind the embeddings.
        blocks: the layers.
        final_norm: behind the last layer.
        relative: positions in the scores of all layers; None for none.
        score_parts: how many products a score is the sum of, for its divisor.
        side_by_side: whether the two values that are rotated together are neighbours in the
            checkpoint, not half a head apart; rows change their places when it is read.
        stored_angles: whether sines and cosines of the positions lie in the checkpoint.
        word_scale: what the word embeddings are multiplied by.
        query_width: whose root divides the scores; None for a head's own width.
    """

    model_type: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    table: int
    types: int
    first_position: int
    max_tokens: int
    word_width: int
    embedding_norm: Norm | None
    blocks: tuple[Block, ...]
    final_norm: Norm | None = None
    relative: Relative | None = None
    score_parts: int = 1
    side_by_side: bool = False
    stored_angles: bool = False
    word_scale: float = 1.0
    query_width: int | None = None

    @property
    def score_scale(self) -> float:
        """Factor of the scores before the softmax."""
        return float((self.divided * self.score_parts) ** -0.5)

    @property
    def divided(self) -> int:
        """Whose root divides one part of a score."""
        return self.query_width or self.head_dim

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.blocks)

    @property
    def window(self) -> int | None:
        """How far a token sees in layers that do not see the whole text; None without such."""
        return next((block.window for block in self.blocks if block.window is not None), None)

    @property
    def epsilon(self) -> float:
        """Of the norms."""
        return self.blocks[0].ffn_norm.epsilon


@dataclass(frozen=True)
class HeadForm:
    """What stands between the states and the logits.

    Attributes:
        tensors: the checkpoint's name of each module -> ``dense``, ``norm`` or ``output``.
        pool: one answer for each token, for the first one, for the mean of all; ``late`` is the
            mean of the tokens' logits.
        activation: behind ``dense``; None where there is no such layer.
        dense_bias: of ``dense``.
        norm: behind the activation.
    """

    tensors: Mapping[str, str] = field(hash=False)
    pool: Literal["token", "first", "mean", "late"] = "token"
    activation: Activation | None = None
    dense_bias: bool = True
    norm: Norm | None = None

    @property
    def needs(self) -> str | None:
        """What an interpreter must know beyond BERT's own head, in words; None for nothing."""
        if self.pool in ("mean", "late"):
            return "a classifier over the mean of the tokens"
        if self.norm is not None or self.activation not in (None, "tanh"):
            return "a head with a norm or without tanh"
        return "a head with a layer for each token" if self._dense_tokens else None

    @property
    def _dense_tokens(self) -> bool:
        return self.pool == "token" and self.activation is not None

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        norm = None if self.norm is None else [self.norm.kind, self.norm.epsilon, self.norm.bias]
        return {"pool": self.pool, "activation": self.activation, "norm": norm}
