"""Which tile of attention a bundle is built for, and that its engine takes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.cuda.made import Build, answer, encodings, open_here

from xopt.artifacts import Bundle
from xopt.engines.cuda_rows import KEYS, READ, choose_rows, read_rows
from xopt.errors import ArtifactError
from xopt.packing import pack


def test_the_steps_are_those_of_the_kernels_tiles() -> None:
    import torch

    from xopt.engines.kernels.attention_tiles import ROWS, attention_tile

    tiles = [attention_tile(64, torch.float16, rows) for rows in ROWS]
    assert {tile.block_m: tile.block_n for tile in tiles} == KEYS


def test_short_texts_have_small_tiles() -> None:
    assert choose_rows((20, 38, 60), 512) == 64
    assert choose_rows((250, 400, 512), 512) == 128


def test_texts_are_as_long_as_the_encoder_takes_them() -> None:
    assert choose_rows((500,), 512) == 128
    assert choose_rows((500,), 40) == 64


def test_a_window_makes_long_texts_cost_what_short_ones_do() -> None:
    """Tiles of 128 rows read a window's edges half as often, but multiply twice as many in vain."""
    assert choose_rows((500,), 512, (16,) * 3) == 64
    assert choose_rows((500,), 512, (None,) * 3) == 128
    assert choose_rows((500,), 512, (None, None, None, 16)) == 128


@given(
    lengths=st.lists(st.integers(1, 600), min_size=1, max_size=6),
    windows=st.lists(st.none() | st.integers(0, 300), max_size=3),
)
def test_the_cheaper_tile_is_chosen(lengths: list[int], windows: list[int | None]) -> None:
    """Row by row, as the kernel runs: a step is read and multiplied whole."""
    cost = dict.fromkeys(KEYS, 0)
    for rows, keys in KEYS.items():
        for length in (min(n, 512) for n in lengths):
            for window in windows or [None]:
                for first in range(0, length, rows):
                    begin, end = 0, length
                    if window is not None:
                        begin = max(first - window, 0)
                        end = min(first + rows + window, length)
                    cost[rows] += len(range(begin, end, keys)) * keys * (rows + READ)
    chosen = choose_rows(lengths, 512, windows)
    assert cost[chosen] == min(cost.values())


@pytest.mark.parametrize("precision", ["fp16", "int8-attention"])
def test_the_engine_takes_the_bundles_tile(
    made: Build, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xopt.engines import kernels

    _, bundle = made("bert-tag", precision)
    name = "varlen_attention_int8" if precision == "int8-attention" else "varlen_attention"
    attend = getattr(kernels, name)
    taken = []

    def attention(*given: object, **options: object) -> object:
        taken.append(options["rows"])
        return attend(*given, **options)

    monkeypatch.setattr(kernels, name, attention)
    batch = pack(encodings([3, 70]), first_position=0)
    answers = {}
    for rows in (64, 128):
        monkeypatch.setattr("xopt.engines.cuda.read_rows", lambda bundle, rows=rows: rows)
        with open_here(bundle) as engine:
            assert engine.describe()["attention_rows"] == rows
            answers[rows] = answer(engine, batch)
        assert set(taken) == {rows}
        taken.clear()
    # Sums in another order: the error of fp16 itself.
    assert 0 < np.abs(answers[64] - answers[128]).max() <= 2e-3 or precision != "fp16"


def test_what_a_build_chooses_is_in_the_manifest(built: Build) -> None:
    _, bundle = built("bert-tag", "fp16")
    written = json.loads((bundle.folder / "manifest.json").read_text())["engine"]
    assert written["attention_rows"] == read_rows(bundle)
    assert read_rows(bundle) in KEYS


def test_an_older_bundle_has_the_larger_tile(made: Build) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    older = Bundle(bundle.folder, bundle.manifest | {"engine": {}})
    assert read_rows(older) == 128
    wrong = Bundle(bundle.folder, bundle.manifest | {"engine": {"attention_rows": 96}})
    with pytest.raises(ArtifactError, match="tiles of 96 rows; there are tiles of 64 and 128"):
        read_rows(wrong)
