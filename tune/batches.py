"""Which items each step is given, in which order, and as which tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xopt.packing import Encoding
from xopt.tune.encode import IGNORED, Item
from xopt.tune.mlm import MlmBatches
from xopt.tune.sampling import TaskSampler

__all__ = ["MLM", "Collate", "Plan", "Stream", "by_length"]

MLM = "mlm"
# Items of like length are sought among as many as fill this many batches.
POOL = 50


@dataclass(frozen=True)
class Stream:
    """A task's items, and its batches of like lengths: a function of the seed and a number.

    Attributes:
        items: trained on.
        size: items in a batch.
        seed: of the order.
        number: of the task, so that two tasks are not shuffled alike.
    """

    items: Sequence[Item]
    size: int
    seed: int
    number: int
    _kept: dict[int, list[NDArray[np.intp]]] = field(default_factory=dict, repr=False)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass."""
        return math.ceil(len(self.items) / self.size)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """``[n]`` of the items."""
        return np.array([item.length for item in self.items], np.int64)

    def batch(self, number: int) -> NDArray[np.intp]:
        """The items of batch ``number``, counted over all passes."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch not in self._kept:
            self._kept.clear()
            self._kept[epoch] = self._epoch(epoch)
        return self._kept[epoch][place]

    def _epoch(self, epoch: int) -> list[NDArray[np.intp]]:
        rng = np.random.default_rng((self.seed, self.number, epoch))
        order = rng.permutation(len(self.items))
        found: list[NDArray[np.intp]] = []
        for start in range(0, len(order), self.size * POOL):
            pool = order[start : start + self.size * POOL]
            pool = pool[np.argsort(-self.lengths[pool], kind="stable")]
            found += [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
        return [found[i] for i in rng.permutation(len(found))]


def by_length(items: Sequence[Item], size: int) -> list[NDArray[np.intp]]:
    """Batches of a dev set, the longest items first."""
    order = np.argsort([-item.length for item in items], kind="stable")
    return [order[at : at + size] for at in range(0, len(order), size)]


@dataclass(frozen=True)
class Collate:
    """Items as padded tensors.

    Attributes:
        padding: id of the padding token.
        types: token types the encoder knows; with one, none are given.
        rows: row of the embedding table of each token id, where the table was cut down.
    """

    padding: int
    types: int
    rows: NDArray[np.int64] | None = None

    def __call__(self, items: Sequence[Item], head: str) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask``, ``token_type_ids`` and what the head learns.

        ``[B, S]`` int64, or ``[B, C, S]`` for ``choice``.
        """
        flat = [encoding for item in items for encoding in item.encodings]
        longest = max(len(encoding) for encoding in flat)
        found: dict[str, NDArray[Any]] = {**self._inputs(flat, longest)}
        if head == "choice":
            shape = (len(items), len(items[0].encodings), longest)
            found = {name: values.reshape(shape) for name, values in found.items()}
        if head == "tag":
            labels = np.full((len(items), longest), IGNORED, np.int64)
            for row, item in enumerate(items):
                labels[row, : len(item.target)] = item.target
            found["labels"] = labels
        elif head == "span":
            places = np.stack([item.target for item in items])
            found["start_positions"], found["end_positions"] = places[:, 0], places[:, 1]
        else:
            found["labels"] = np.array([item.target for item in items], np.int64)
        return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in found.items()}

    def _inputs(self, flat: Sequence[Encoding], longest: int) -> dict[str, NDArray[np.int64]]:
        ids = np.full((len(flat), longest), self.padding, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, encoding in enumerate(flat):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
            types[row, : len(encoding)] = encoding.type_ids
        if self.rows is not None:
            ids = self.rows[ids]
        found = {"input_ids": ids, "attention_mask": mask}
        return found | ({"token_type_ids": types} if self.types > 1 else {})


class Plan(torch.utils.data.Dataset[dict[str, Any]]):
    """Every batch of a phase by its number, so that a resumed run goes on where it was.

    Args:
        streams: of each task.
        heads: of each task.
        batches: in all.
        probabilities: of each task, and of ``mlm`` where it is mixed in.
        seed: of the choice of tasks.
        collate: makes tensors.
        mlm: masked texts, where they are mixed in.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        heads: Mapping[str, str],
        *,
        batches: int,
        probabilities: Mapping[str, float],
        seed: int,
        collate: Collate,
        mlm: MlmBatches | None = None,
    ) -> None:
        self.streams, self.heads, self.collate, self.mlm = streams, heads, collate, mlm
        sampler = TaskSampler(probabilities, seed=seed)
        counts = dict.fromkeys(probabilities, 0)
        self.places: list[tuple[str, int]] = []
        for step in range(batches):
            name = sampler.task(step)
            self.places.append((name, counts[name]))
            counts[name] += 1
        self.counts = counts

    def __len__(self) -> int:
        """Batches in all."""
        return len(self.places)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """The tensors of a batch, and ``task``."""
        name, place = self.places[number]
        if name == MLM:
            assert self.mlm is not None
            return {"task": name, **self.mlm.at(place)}
        stream = self.streams[name]
        items = [stream.items[i] for i in stream.batch(place)]
        return {"task": name, **self.collate(items, self.heads[name])}

    def tokens(self, batches: int) -> int:
        """Tokens in the first ``batches`` batches of the tasks, without padding and ``mlm``."""
        total = 0
        for name, place in self.places[:batches]:
            if name != MLM:
                stream = self.streams[name]
                total += sum(stream.items[i].tokens for i in stream.batch(place))
        return total
