"""Random ragged batches: each answer equal, whether its text is asked alone or with others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.faults.ragged_engines import Form

__all__ = ["Ragged", "run_ragged"]

SPECIAL, VOCABULARY = 4, 1200


@dataclass
class Ragged:
    """What came of the batches on one engine in one form.

    Attributes:
        above: answers that differ by more than the form's bound, or that hold no number.
        shifted: answers that differ by more than 1e-3, whatever is promised.
    """

    bound: float | None
    batches: int = 0
    answers: int = 0
    above: int = 0
    shifted: int = 0
    largest: float = 0.0


def run_ragged(
    forms: Sequence[Form], count: int, seed: int, until: float = float("inf")
) -> dict[str, Ragged]:
    """``count`` batches, in turn in every form.

    A batch has 2 texts to as many as the form says, of 1 to ``longest`` random tokens, short ones
    more often than long ones; three of them are asked alone.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, Ragged] = {}
    with ExitStack() as stack:
        engines: dict[str, Any] = {}
        for number in range(count):
            if time.monotonic() > until:
                break
            form = forms[number % len(forms)]
            if form.name not in engines:
                engines[form.name] = stack.enter_context(form.open())
            tally = found.setdefault(form.name, Ragged(form.bound))
            _compare(engines[form.name], form, generator, tally)
    return found


def _compare(engine: Any, form: Form, generator: np.random.Generator, tally: Ragged) -> None:
    from xopt.packing import Encoding, pack

    size = int(generator.integers(2, form.sentences + 1))
    lengths = np.minimum(1 + generator.geometric(1 / 24, size), form.longest)
    encodings = [
        Encoding(generator.integers(SPECIAL, VOCABULARY, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    signature = engine.signature
    first = signature.first_position
    batch = pack(encodings, first_position=first)
    together = engine.run(batch)[signature.output]
    tally.batches += 1
    for one in generator.choice(size, min(3, size), replace=False):
        alone = engine.run(pack([encodings[one]], first_position=first))[signature.output]
        rows = slice(one, one + 1)
        if signature.per_token:
            rows = slice(int(batch.cu_seqlens[one]), int(batch.cu_seqlens[one + 1]))
        difference = float(np.abs(alone - together[rows]).max())
        tally.answers += 1
        tally.largest = max(tally.largest, difference)
        tally.shifted += not difference <= 1e-3
        bound = np.inf if tally.bound is None else tally.bound
        tally.above += not (difference <= bound and np.isfinite(difference))
