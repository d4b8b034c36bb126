"""How fast a bundle is beside its reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from xopt.evaluate.throughput import measure_in_turn
from xopt.model.session import Session
from xopt.model.usage import Usage
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer


def of(tokens: int) -> Encoding:
    """An encoding of so many tokens."""
    return Encoding(*np.zeros((2, tokens), np.int32))


class Timed:
    """A session whose engine takes so many seconds a token, while the machine grows slower."""

    def __init__(self, seconds: float, machine: Iterator[float]) -> None:
        self.seconds, self.machine, self.usage = seconds, machine, Usage()
        self.tokenizer = cast("Tokenizer", None)

    def answers(self, count: int, encode: Any) -> Iterator[None]:
        tokens = sum(map(len, encode(self.tokenizer, 0, count)))
        self.usage.engine_s += self.seconds * tokens * next(self.machine)
        yield from [None] * count


def test_both_engines_in_turn_see_the_same_machine() -> None:
    """Of two runs apart, the second one here would have had a machine of half the speed."""
    machine = iter([1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    sides = (cast("Session", Timed(seconds, machine)) for seconds in (3e-3, 1e-3))
    found = measure_in_turn(*sides, lambda _: [[of(4)], [of(1), of(1)]])
    assert found["faster"] == pytest.approx(3)
    assert found["rounds"] == pytest.approx([3] * 5)
    assert found["tokens"] == 6


@pytest.mark.parametrize(("sizes", "tokens"), [([9000, 1], 9000), ([4000, 4192, 1, 5], 8192)])
def test_a_round_has_a_bound(sizes: list[int], tokens: int) -> None:
    machine = itertools.repeat(1.0)
    sides = (cast("Session", Timed(seconds, machine)) for seconds in (2e-3, 1e-3))
    found = measure_in_turn(*sides, lambda _: [[of(size)] for size in sizes])
    assert found["tokens"] == tokens
    assert found["faster"] == pytest.approx(2)
