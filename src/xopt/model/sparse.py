"""Embeddings with lexical weights, of an encoder with a sparse head (bge-m3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.model.asking import Asking, read_rows
from xopt.model.head import Head
from xopt.model.replaced import tell_replaced
from xopt.model.session import Session
from xopt.model.stream import check_numbers
from xopt.model.texts import Row, chunked

__all__ = ["Hybrid", "encode_hybrid"]

Array = NDArray[np.float32]
CONVERT = (
    "bge-m3's own is a pickle, sparse_linear.pt. Where you trust it: "
    "safetensors.torch.save_file(torch.load('sparse_linear.pt', weights_only=True), "
    "'sparse_linear.safetensors') beside it, then xopt build again with --target cpu."
)


@dataclass(frozen=True)
class Hybrid:
    """Dense and sparse vectors of the same texts.

    Attributes:
        dense: ``[n, width]`` float32.
        weights: for each text, token id -> its largest weight, above 0; special tokens have none.
    """

    dense: Array
    weights: list[dict[int, float]]

    def score(self, first: int, second: int) -> float:
        """The lexical score of two texts: the sum over common tokens of both weights' product."""
        ours, theirs = self.weights[first], self.weights[second]
        return float(sum(value * theirs[token] for token, value in ours.items() if token in theirs))


def encode_hybrid(
    session: Session, head: Head, rows: Iterable[Row], asking: Asking, batch_tokens: int | None
) -> Hybrid:
    """The embedding and the lexical weights of each row, of one run of the encoder.

    Raises:
        InputError: the bundle has no sparse head, or a text cannot be answered.
    """
    if head.sparse is None:
        raise InputError(f"{session.bundle.folder.name} has no sparse head.", hint=CONVERT)
    width = session.engine.signature.width
    special = np.array(head.sparse, np.int64)
    dense: list[Array] = []
    weights: list[dict[int, float]] = []
    for group, encodings, answers in session.chunks(
        chunked(rows),
        lambda tokenizer, asked: read_rows(tokenizer, asked, head.kind, asking),
        batch_tokens=batch_tokens,
        weights=True,
    ):
        if session.tokenizer.pieces is not None:
            tell_replaced(group, encodings, warnings.warn)
        for row, [encoding], [values] in zip(group, encodings, answers, strict=True):
            check_numbers(row.name, [values])
            dense.append(head.finish_embeddings(values[:width], asking.normalize))
            weights.append(lexical_weights(encoding.ids, values[width:], special))
    table = np.stack(dense) if dense else np.empty((0, width), np.float32)
    return Hybrid(table, weights)


def lexical_weights(
    ids: NDArray[np.int32], values: Array, special: NDArray[Any]
) -> dict[int, float]:
    """Token id -> the largest weight at its places, above 0 and without special tokens."""
    found: dict[int, float] = {}
    kept = (values > 0) & ~np.isin(ids, special)
    for token, value in zip(ids[kept].tolist(), values[kept].tolist(), strict=True):
        found[token] = max(value, found.get(token, 0.0))
    return found
