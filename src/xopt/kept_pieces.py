"""The pieces of a vocabulary that a bundle kept, and by what it replaces the others.

The tokenizer stays whole, so a text of kept pieces has the tokens that it always had. A piece that
has no row is read as the kept pieces that its characters are cut into; whoever asks is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xopt.arrays import read_arrays
from xopt.errors import ArtifactError
from xopt.packing import Encoding

__all__ = ["PIECES", "KeptPieces"]

PIECES = "pieces.npz"
# Of its arrays in memory.
MOST_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class KeptPieces:
    """For each id of a checkpoint the kept ids that stand for it.

    Attributes:
        starts: ``[vocabulary + 1]`` int32, where those of an id begin in ``ids``.
        ids: int32, one after the other; a kept id has itself alone.
    """

    starts: NDArray[np.int32]
    ids: NDArray[np.int32]

    @classmethod
    def of(cls, parts: Sequence[Sequence[int]]) -> KeptPieces:
        """From the kept ids of each id, of which none is empty."""
        sizes = [0, *map(len, parts)]
        flat = [number for part in parts for number in part]
        return cls(np.cumsum(sizes, dtype=np.int32), np.array(flat, np.int32))

    @classmethod
    def read(cls, folder: Path) -> KeptPieces:
        """What a bundle's folder holds.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        path = folder / PIECES
        try:
            stored = read_arrays(path, MOST_BYTES)
            starts = np.concatenate([[0], np.cumsum(stored["counts"], dtype=np.int64)])
            found = cls(starts.astype(np.int32), stored["ids"])
        except Exception as error:
            raise ArtifactError(f"{path} is no table of kept pieces: {error}.") from error
        if not found._is_whole():
            raise ArtifactError(f"{path} is no table of kept pieces: its numbers do not fit.")
        return found

    def save(self, folder: Path) -> None:
        """Write the file that :meth:`read` reads."""
        # One after the other they would hardly become smaller.
        counts = np.diff(self.starts).astype(np.uint16)
        np.savez_compressed(folder / PIECES, counts=counts, ids=self.ids)

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """``[vocabulary]``: whether an id is kept."""
        alone = np.diff(self.starts) == 1
        found: NDArray[np.bool_] = alone & (self.ids[self.starts[:-1]] == np.arange(len(alone)))
        return found

    def apply(self, encoding: Encoding) -> Encoding:
        """The encoding in kept pieces; one that has no other is returned as it is.

        The pieces that stand for one token have its type, word and offsets.
        """
        lost = ~self.kept[encoding.ids]
        if not lost.any():
            return encoding
        counts = self.starts[encoding.ids + 1] - self.starts[encoding.ids]
        places = np.repeat(np.arange(len(encoding)), counts)
        begins = np.cumsum(counts) - counts
        inner = np.arange(len(places)) - begins[places]
        ids = self.ids[self.starts[encoding.ids][places] + inner]
        return replace(
            encoding,
            ids=ids,
            type_ids=encoding.type_ids[places],
            offsets=_taken(encoding.offsets, places),
            sequence=_taken(encoding.sequence, places),
            words=_taken(encoding.words, places),
            replaced=int(lost.sum()),
        )

    def _is_whole(self) -> bool:
        """Whether every id has kept ids, and no other."""
        starts, ids = self.starts, self.ids
        if ids.ndim != 1 or ids.dtype != np.int32 or starts.ndim != 1:
            return False
        if len(starts) < 2 or starts[-1] != len(ids):
            return False
        if (np.diff(starts) < 1).any() or ids.min() < 0 or ids.max() >= len(starts) - 1:
            return False
        return bool(self.kept[ids].all())


def _taken(values: NDArray[np.int32] | None, places: NDArray[np.intp]) -> NDArray[np.int32] | None:
    return None if values is None else values[places]
