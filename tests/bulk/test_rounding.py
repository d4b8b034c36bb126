"""Parts of one output come from machines whose answers have the same last digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xopt.artifacts import Bundle
from xopt.bulk.local import rounding_of
from xopt.bulk.ray import Worker, WorkerOptions
from xopt.bulk.writing import find_format
from xopt.errors import InputError
from xopt.host import int8_instructions
from xopt.model.asking import Asking
from xopt.model.head import Head
from xopt.model.texts import Row


def test_workers_that_round_otherwise_are_refused(
    bundles: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles("encoder")
    form = find_format(Path("out.npy"), Head.read(bundle.head), 64)
    options = WorkerOptions(
        str(bundle.folder), bundle.fingerprint, 1, None, None, Asking(), form, None
    )
    worker = Worker(options)
    first = worker.rounding()
    assert first == rounding_of(worker.model)
    assert first["instruction set"] == int8_instructions()
    assert worker.answer(0, [Row("Habari")], first)[:2] == (0, 1)
    monkeypatch.setattr("xopt.bulk.local.int8_instructions", lambda: "abacus")
    with pytest.raises(InputError, match="instruction set abacus; another one"):
        worker.answer(0, [Row("Habari")], first)
