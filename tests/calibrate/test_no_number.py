"""A value that is no number is named with its text and its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.calibrate.measuring import run

from xopt.calibrate.finite import check_numbers
from xopt.calibrate.ranges import CalibrationRecipe
from xopt.compile.checkpoint import Checkpoint
from xopt.errors import CheckpointError
from xopt.packing import Encoding, pack
from xopt.tokenization import Tokenizer


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_named_with_its_text_and_its_place(
    make_checkpoint: Callable[..., Path], bad: float
) -> None:
    asked: list[list[int]] = []

    class Broken:
        sites = ("layers.0.qkv_in", "layers.1.ffn_act")

        def weight(self, site: str) -> np.ndarray:
            return np.ones((2, 64), np.float32)

        def walk(self, batches: Any, visit: Callable[[str, list[Any]], None]) -> None:
            parts = [torch.zeros(batch.tokens, 64) for batch in batches]
            visit("layers.0.qkv_in", parts)
            chosen, batch = next((n, b) for n, b in enumerate(batches) if b.sentences > 1)
            # The second sentence's last token.
            parts[chosen][int(batch.cu_seqlens[2]) - 1, 3] = bad
            asked.append(batch.input_ids[batch.cu_seqlens[1] : batch.cu_seqlens[2]].tolist())
            visit("layers.1.ffn_act", parts)

    # Of no other test: its ranges are not in the cache.
    folder = make_checkpoint(seed=977)
    with pytest.raises(CheckpointError, match=r"layers\.1\.ffn_act is NaN or infinite") as caught:
        run(folder, CalibrationRecipe(), Broken())  # type: ignore[arg-type]
    checkpoint = Checkpoint.open(folder)
    text = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text).fast.decode(asked[0]).strip()
    assert text[:30] in caught.value.message


def test_what_is_no_number_in_a_pair_is_named_with_both_texts() -> None:
    items = [Encoding(np.full(n, 5, np.int32), np.zeros(n, np.int32)) for n in (3, 4)]
    values = torch.zeros(7, 2)
    values[3, 1] = float("nan")
    rows = [("sw", "Habari", "Asubuhi"), ("th", "first of it", "second of it")]
    with pytest.raises(CheckpointError) as caught:
        check_numbers("layers.0.qkv_in", values, pack(items, first_position=0), rows)
    assert "'first of it' and 'second of it' (th): layers.0.qkv_in" in caught.value.message
