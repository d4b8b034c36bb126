"""Every item once a pass, like lengths together, and the same plan for the same seed."""

import math
from typing import Any

import numpy as np
import pytest

from xopt.errors import InputError
from xopt.packing import Encoding
from xopt.tune.batches import POOL, Collate, Plan, Stream, by_length
from xopt.tune.encode import Item
from xopt.tune.options import TuneOptions


def item(length: int, target: Any = 0, owner: int = 0) -> Item:
    ids = np.arange(5, 5 + length, dtype=np.int32)
    return Item((Encoding(ids, np.zeros_like(ids)),), target, owner)


LENGTHS = np.random.default_rng(0).integers(3, 120, 997)
STREAM = Stream([item(int(n)) for n in LENGTHS], 16, seed=3, number=0)


def test_each_pass_holds_every_item_once_in_another_order() -> None:
    passes = [
        [STREAM.batch(epoch * STREAM.per_epoch + n) for n in range(STREAM.per_epoch)]
        for epoch in (0, 1)
    ]
    for batches in passes:
        assert sorted(np.concatenate(batches)) == list(range(997))
    assert any(list(a) != list(b) for a, b in zip(*passes, strict=True))


def test_like_lengths_stand_together() -> None:
    def padded(batches: list[Any]) -> int:
        return sum(len(b) * int(LENGTHS[b].max()) for b in batches)

    grouped = padded([STREAM.batch(n) for n in range(STREAM.per_epoch)])
    order = np.random.default_rng(1).permutation(997)
    shuffled = padded([order[at : at + 16] for at in range(0, 997, 16)])
    # In a sorted pool, what each batch pads is at most 16 times the step to the next one's longest.
    pools = math.ceil(997 / (16 * POOL))
    assert grouped <= LENGTHS.sum() + pools * 16 * np.ptp(LENGTHS) < shuffled
    assert sorted(np.concatenate(by_length(STREAM.items, 16))) == list(range(997))


def test_a_plan_is_the_same_for_a_seed_and_gives_any_batch_by_its_number() -> None:
    streams = {n: Stream([item(4 + i % 9) for i in range(50)], 8, 0, k) for k, n in enumerate("ab")}

    def plan(seed: int) -> Plan:
        return Plan(
            streams,
            {"a": "classify", "b": "classify"},
            batches=40,
            probabilities={"a": 0.75, "b": 0.25},
            seed=seed,
            collate=Collate(1, 1),
        )

    first, again = plan(0), plan(0)
    assert first.places == again.places
    assert first.places != plan(1).places
    assert sum(first.counts.values()) == len(first) == 40
    for number in (39, 0, 17):
        one, other = first[number], again[number]
        assert one["task"] == other["task"]
        assert bool((one["input_ids"] == other["input_ids"]).all())
    # A task's batches are taken one after the other, whichever steps it is given.
    assert [p for n, p in first.places if n == "b"] == list(range(first.counts["b"]))


def test_padding_masks_and_targets() -> None:
    collate = Collate(padding=1, types=2)
    found = collate([item(3, np.array([-100, 2, -100])), item(5, np.full(5, 4))], "tag")
    assert found["input_ids"].tolist() == [[5, 6, 7, 1, 1], [5, 6, 7, 8, 9]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert found["labels"].tolist() == [[-100, 2, -100, -100, -100], [4] * 5]
    assert found["token_type_ids"].shape == (2, 5)
    assert "token_type_ids" not in Collate(1, 1)([item(3)], "classify")
    span = collate([item(3, np.array([1, 2]))], "span")
    assert (span["start_positions"].tolist(), span["end_positions"].tolist()) == ([1], [2])
    choices = Item(item(3).encodings + item(4).encodings, 1, 0)
    assert collate([choices], "choice")["input_ids"].shape == (1, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": None}, "nothing to tune"),
        ({"intermediate": ("none", "mnli")}, "stands alone"),
        ({"intermediate": ("mnli", "mnli")}, "twice"),
        ({"sampling": "unifrom"}, "Did you mean 'uniform'"),
        ({"precision": "int8"}, "fp32 or bf16"),
        ({"batch": 6, "gradient_accumulation": 4}, "divisor"),
        ({"lr": 3.0}, "--lr"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"max_tokens": 4}, "--max-tokens"),
        ({"warmup": 1.0}, "--warmup"),
        ({"seed": -1}, "--seed"),
        ({"mlm": "sample"}, "phase 2"),
        ({"target": None, "intermediate": ("mnli",), "qat": True}, "--target TASK"),
        ({"cpu": "any"}, "Add --qat"),
        ({"qat_target": "cuda"}, "Add --qat"),
        ({"qat": True, "qat_target": "cudda"}, "Did you mean 'cuda'"),
        ({"qat": True, "qat_target": "torch-tensorrt"}, "no target with INT8"),
        ({"qat": True, "qat_precision": "fp16"}, "Possible there: int8"),
        ({"qat": True, "qat_target": "tensorrt", "qat_precision": "int8-attention"}, "8 bits"),
        ({"qat": True, "qat_target": "cuda", "cpu": "any"}, "Leave one of them out"),
        ({"qat": True, "cpu": "avx2"}, "Unknown --cpu 'avx2'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TuneOptions(**{"target": "panx", **change})


def test_none_stands_for_no_intermediate_task() -> None:
    assert TuneOptions(intermediate=("none",), target="panx").intermediate == ()
