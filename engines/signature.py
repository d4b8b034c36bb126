"""What an engine reads and gives, as a bundle's manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from xopt.errors import InputError
from xopt.packing import PackedBatch

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

    def check(self, batch: PackedBatch) -> None:
        """Refuse a batch that this encoder cannot take.

        Raises:
            InputError: an array has another type or shape than a batch's, a sentence is longer than
                the encoder takes, or an id is out of range.
        """
        _check_form(batch)
        if batch.longest > self.max_tokens:
            raise InputError(
                f"A sentence has {batch.longest} tokens; this engine takes {self.max_tokens}.",
                hint="Cut the text, or split it.",
            )
        for name, values, bound in (
            ("input_ids", batch.input_ids, self.vocabulary),
            ("token_type_ids", batch.token_type_ids, self.types),
        ):
            if name in self.inputs and (values.min() < 0 or values.max() >= bound):
                raise InputError(f"{name} must lie in 0..{bound - 1}.")
        top = self.first_position + self.max_tokens
        positions = batch.position_ids
        if positions.min() < 0 or positions.max() >= top:
            raise InputError(f"position_ids must lie in 0..{top - 1}.")


def _check_form(batch: PackedBatch) -> None:
    """Refuse arrays that a native library would read as something else, or beyond their end."""
    tokens, sentences = batch.tokens, batch.sentences
    for name, length in (
        ("input_ids", tokens),
        ("position_ids", tokens),
        ("token_type_ids", tokens),
        ("cu_seqlens", sentences + 1),
        ("prompt_tokens", sentences),
    ):
        array: Any = getattr(batch, name)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} is a {type(array).__name__}; it must be an array of NumPy.")
        if array.dtype != np.int32 or array.shape != (length,):
            raise InputError(
                f"{name} is {array.dtype} {list(array.shape)}; it must be int32 [{length}]."
            )
    starts = batch.cu_seqlens
    if sentences < 1 or starts[0] != 0 or starts[-1] != tokens or batch.lengths.min() < 1:
        raise InputError(
            f"cu_seqlens must rise from 0 to {tokens}, the number of tokens; no sentence is empty."
        )
