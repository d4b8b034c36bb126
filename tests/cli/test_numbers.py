"""Every number that a command or an experiment takes has bounds, and is refused beyond them."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from xopt.cli.evaluate import EvalCommand
from xopt.compile.options import BuildOptions
from xopt.engines.opening import EngineOptions
from xopt.errors import InputError
from xopt.tune.options import TuneOptions
from xopt.tune.sweep.experiment import CellOptions, RaySettings

# Each with what it needs beside the number.
KINDS: tuple[tuple[type, dict[str, Any]], ...] = (
    (BuildOptions, {"task": "xnli", "languages": "sw"}),
    (EvalCommand, {}),
    (EngineOptions, {}),
    (TuneOptions, {"target": "xnli"}),
    (CellOptions, {}),
    (RaySettings, {}),
)


def numbers() -> Iterator[tuple[type, str, float]]:
    for kind, _ in KINDS:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            # Beside a bundle or a checkpoint alone these can be told from what it has.
            if field.name in ("layer", "device"):
                continue
            parts = set(typing.get_args(hints[field.name]) or (hints[field.name],))
            if parts & {int, float}:
                yield kind, field.name, -1
            if float in parts:
                yield from ((kind, field.name, value) for value in (math.nan, math.inf))


def test_no_core_is_too_few() -> None:
    for name in ("cpus", "measure_cpus"):
        with pytest.raises(InputError, match="at least one CPU"):
            RaySettings(**{name: 0})


@pytest.mark.parametrize(("kind", "name", "value"), list(numbers()))
def test_what_is_below_or_no_number_is_refused(kind: type, name: str, value: float) -> None:
    needed = dict(KINDS)[kind]
    kind(**needed)
    with pytest.raises(InputError) as caught:
        kind(**{**needed, name: value})
    assert caught.value.hint
    said = str(caught.value)
    assert str(value) in said or kind is RaySettings


def test_what_would_never_end_or_overflow_is_refused() -> None:
    EvalCommand(resamples=1_000_000)
    with pytest.raises(InputError, match="--resamples is 9223372036854775808; possible: 1 to"):
        EvalCommand(resamples=2**63)
    TuneOptions(target="xnli", seed=2**32 - 1)
    with pytest.raises(InputError, match="--seed is 4294967296; possible: 0 to 4,294,967,295"):
        TuneOptions(target="xnli", seed=2**32)
