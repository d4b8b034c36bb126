"""A few ragged batches on an engine of each kind; the thousands are in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.ragged import run_ragged
from tests.faults.ragged_engines import Form, forms

from xopt.engines.signature import Signature
from xopt.packing import Encoding, pack

# The CUDA engine's kernels in the interpreter: tests/engines/cuda/test_answers.py.
CHOSEN = (
    "openvino with own attention, tag, int8",
    "openvino with OpenVINO's attention, tag, int8",
    "ONNX Runtime, tag, onnx-fp32",
    "portable graph in OpenVINO, tag, int8",
    "null, tag",
)


def test_an_answer_is_the_same_alone_and_together(tmp_path: Path) -> None:
    chosen = [form for form in forms(tmp_path) if form.name in CHOSEN]
    found = run_ragged(chosen, 40, seed=0)
    assert {
        name: (ragged.batches, ragged.above) for name, ragged in found.items()
    } == dict.fromkeys(CHOSEN, (8, 0))


def test_the_portable_graph_pads_a_text_to_a_width_of_its_own_kind(tmp_path: Path) -> None:
    """Its sums over padding changed 5 of 14,847 INT8 answers by more than 1e-3."""
    [form] = (f for f in forms(tmp_path) if f.name == "portable graph in OpenVINO, embed, int8")
    lengths = np.random.default_rng(0).integers(1, 120, 30).tolist()
    items = [Encoding(np.full(n, 7, np.int32), np.zeros(n, np.int32)) for n in lengths]
    with form.open() as engine:
        program, widths = engine._program, []

        def watched(arrays: dict[str, Any]) -> Any:
            found = arrays["attention_bias"].shape
            widths.extend([found[-1]] * found[0])
            return program(arrays)

        engine._program = watched
        engine.run(pack(items, first_position=2))
        together = sorted(widths)
        widths.clear()
        for item in items:
            engine.run(pack([item], first_position=2))
    assert together == sorted(widths)
    assert set(widths) == {32, 64, 96, 128}


class _Leaking:
    """Answers of ones, and ``spoiled`` where more than one text is asked."""

    signature = Signature(("input_ids",), "embeddings", False, 3, 120, 0, 1200, 1)

    def __init__(self, spoiled: float) -> None:
        self.spoiled = spoiled

    def __enter__(self) -> _Leaking:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, batch: Any) -> dict[str, Any]:
        value = 1.0 if batch.sentences == 1 else self.spoiled
        return {"embeddings": np.full((batch.sentences, 3), value, np.float32)}


@pytest.mark.parametrize(
    ("spoiled", "bound", "above"),
    [(1.0, 0.0, False), (1.001, 1e-5, True), (1.1, None, False), (np.nan, None, True)],
)
def test_what_a_text_takes_of_its_mates_is_found(
    spoiled: float, bound: float | None, above: bool
) -> None:
    form = Form("leaking", lambda: _Leaking(spoiled), bound)
    tally = run_ragged([form], 3, seed=0)["leaking"]
    assert tally.above == above * tally.answers
    assert tally.answers >= 6
