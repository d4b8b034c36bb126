"""What an engine reads and gives, as a bundle's manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["TOKEN_WEIGHTS", "Signature"]

# The second output of a sparse head.
TOKEN_WEIGHTS = "token_weights"


@dataclass(frozen=True)
class Signature:
    """What an engine reads and gives.

    Attributes:
        inputs: names of the packed batch's arrays.
        output: ``logits`` or ``embeddings``.
        per_token: whether the output has a row per token (``[T, …]``) or one per sentence.
        width: size of the output's last axis.
        max_tokens: of one sentence.
        first_position: position id of a sentence's first token.
        vocabulary: token ids are below it.
        types: token type ids are below it.
        window: how far a token sees to each side where not over the whole sentence; or None.
        sparse: whether there is a second output, :data:`TOKEN_WEIGHTS`, ``[T, 1]``.
    """

    inputs: tuple[str, ...]
    output: str
    per_token: bool
    width: int
    max_tokens: int
    first_position: int
    vocabulary: int
    types: int
    window: int | None = None
    sparse: bool = False

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> Self:
        """From a bundle's manifest."""
        facts = dict(manifest["signature"])
        return cls(**{**facts, "inputs": tuple(facts["inputs"])})
