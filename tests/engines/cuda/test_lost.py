"""A value beyond fp16 within INT8 makes its text's answer NaN, which is told, and no other's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.cuda.made import INTERPRETED, Build, answer, open_here, ragged

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:(overflow|invalid value|All-NaN slice) encountered:RuntimeWarning"
    ),
    pytest.mark.skipif(not INTERPRETED, reason="a captured graph has no place for it"),
]
LENGTHS, TEXT, TOKEN = [4, 6, 3], 1, 7


@pytest.mark.parametrize("name", ["xlmr-classify", "bert-tag", "roberta-mean"])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["query", "key", "value"])
def test_what_leaves_fp16_is_no_answer(
    made: Build, monkeypatch: pytest.MonkeyPatch, name: str, part: int
) -> None:
    checkpoint, bundle = made(name, "int8")
    batch = ragged(checkpoint, LENGTHS)
    with open_here(bundle) as engine:
        before = answer(engine, batch)
        layer: Any = engine.encoder.layers[0]
        project = layer.qkv

        def beyond(x: torch.Tensor, **options: Any) -> torch.Tensor:
            out: torch.Tensor = project(x, **options)
            out.view(len(out), 3, -1)[TOKEN, part, 2] = torch.inf
            return out

        beyond.steps, beyond.quantized = project.steps, project.quantized  # type: ignore[attr-defined]
        monkeypatch.setattr(layer, "qkv", beyond)
        after = answer(engine, batch)
    starts = np.cumsum([0, *LENGTHS]) if len(before) == sum(LENGTHS) else np.arange(4)
    for number, (old, new) in enumerate(
        zip(np.split(before, starts[1:-1]), np.split(after, starts[1:-1]), strict=True)
    ):
        if number == TEXT:
            assert not np.isfinite(new).all()
        else:
            np.testing.assert_array_equal(new, old)
