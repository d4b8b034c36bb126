"""What every engine does with the parts of a batch, by an engine that only counts tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.errors import ArtifactError, InputError
from xopt.packing import Encoding, PackedBatch, pack

LENGTHS = [4, 1, 7, 2, 3]


class Part:
    def __init__(self, engine: Counting, batch: PackedBatch) -> None:
        self.engine, self.batch = engine, batch
        self.over = False

    def take(self) -> Any:
        self.over = True
        if self.engine.broken == "take":
            raise RuntimeError("broken")
        return self.engine._run(self.batch)

    def drop(self) -> None:
        self.over = True


class Counting(Engine):
    """Answers a row by its ids; at most ``most`` sentences run as one, the longest first."""

    def __init__(self, *, per_token: bool, most: int) -> None:
        signature = {
            "inputs": ["input_ids"], "output": "answer", "per_token": per_token, "width": 2,
            "max_tokens": 9, "first_position": 0, "vocabulary": 100, "types": 1,
        }  # fmt: skip
        super().__init__(Bundle(Path(), {"signature": signature}))
        self.most = most
        self.started: list[Part] = []
        self.broken = ""

    def plan(self, batch: PackedBatch) -> list[Any]:
        order = np.argsort(-batch.lengths)
        return [order[at : at + self.most] for at in range(0, batch.sentences, self.most)]

    def _start(self, part: PackedBatch, parts: int) -> Part:
        if self.broken == "start" and len(self.started) == 1:
            raise RuntimeError("broken")
        self.started.append(Part(self, part))
        return self.started[-1]

    def _run(self, part: PackedBatch) -> Any:
        ids = part.input_ids.astype(np.float32)
        values = np.stack([ids, np.repeat(part.lengths, part.lengths)], 1).astype(np.float32)
        if self.broken == "shape":
            return values[:0]
        return values if self.signature.per_token else values[part.cu_seqlens[:-1]]


def batch() -> PackedBatch:
    ids = np.arange(100, dtype=np.int32)
    parts = np.split(ids[: sum(LENGTHS)], np.cumsum(LENGTHS)[:-1])
    return pack([Encoding(part, np.zeros_like(part)) for part in parts], first_position=0)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_every_row_comes_back_to_its_place(per_token: bool, most: int) -> None:
    whole = batch()
    engine = Counting(per_token=per_token, most=most)
    begins = [0, 4, 5, 12, 14]
    expected = [[b + i, n] for b, n in zip(begins, LENGTHS, strict=True) for i in range(n)]
    if not per_token:
        expected = [expected[b] for b in begins]
    assert engine.run(whole)["answer"].tolist() == expected
    mine = np.full((len(expected), 2), np.nan, np.float32)
    engine.run_into(whole, mine)
    assert mine.tolist() == expected


def test_a_batch_in_one_part_is_not_copied() -> None:
    whole = batch()
    engine = Counting(per_token=False, most=9)
    engine.run_into(whole, np.empty((5, 2), np.float32))
    engine.run(whole)
    # One group stands for the batch as it is, in whatever order it names the sentences.
    assert [part.batch is whole for part in engine.started] == [True, True]


@pytest.mark.parametrize("broken", ["start", "take", "shape"])
def test_a_failed_part_leaves_no_other_running(broken: str) -> None:
    engine = Counting(per_token=True, most=2)
    engine.broken = broken
    kind = ArtifactError if broken == "shape" else RuntimeError
    with pytest.raises(kind, match=r"broken|answered \[0, 2\], not"):
        engine.run(batch())
    assert engine.started
    assert all(part.over for part in engine.started)


def test_the_callers_array_is_checked_before_anything_starts() -> None:
    engine = Counting(per_token=False, most=2)
    for wrong in (np.empty((4, 2), np.float32), np.empty((5, 2)), np.empty((5, 4), "f4")[:, ::2]):
        with pytest.raises(InputError, match="array for the answer"):
            engine.run_into(batch(), wrong)
    assert engine.started == []
