"""The rows of the embedding table that a phase can move, alone.

A multilingual table has 250,000 rows, and English training data touch a tenth. With AdamW and no
weight decay a row that no token touches has no gradient and never moves, so that tuning the touched
rows alone leaves the same table, without reading and writing the other nine tenths at every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xopt.tune.encode import Item
from xopt.tune.parts import set_words, words_of

__all__ = ["CutTable", "cut_table"]


@dataclass(frozen=True)
class CutTable:
    """A table that was cut down, and what is needed to make it whole.

    Attributes:
        whole: ``[V, hidden]``, before the phase.
        kept: ``[n]`` ids of the rows that stayed, in order.
        rows: ``[V]`` row of each id in the cut table; -1 where it has none.
    """

    whole: Tensor
    kept: NDArray[np.int64]
    rows: NDArray[np.int64]

    def restore(self, base: Any) -> None:
        """Put the whole table back into an encoder, with the rows that were tuned."""
        cut = words_of(base)
        self.whole[torch.from_numpy(self.kept)] = cut.weight.detach().to(self.whole.device)
        count, width = self.whole.shape
        whole = nn.Embedding(count, width, padding_idx=cut.padding_idx, _weight=self.whole)
        set_words(base, whole)


def cut_table(base: Any, items: Iterable[Item], padding: int) -> CutTable:
    """Leave in an encoder's word embeddings the rows of tokens that occur in ``items``.

    The ids up to ``padding`` keep their numbers: RoBERTa counts positions by them.
    """
    table = words_of(base)
    used = np.zeros(table.num_embeddings, bool)
    used[: padding + 1] = True
    for item in items:
        for encoding in item.encodings:
            used[encoding.ids] = True
    kept = np.flatnonzero(used).astype(np.int64)
    rows = np.full(len(used), -1, np.int64)
    rows[kept] = np.arange(len(kept))
    whole = table.weight.detach()
    cut = nn.Embedding(
        len(kept),
        table.embedding_dim,
        padding_idx=table.padding_idx,
        _weight=whole[torch.from_numpy(kept)].clone(),
    )
    set_words(base, cut)
    return CutTable(whole, kept, rows)
