"""What ``xopt build --max-drop`` says of the rows that it checked."""

from __future__ import annotations

import numpy as np
import pytest

from xopt.cli.build_within import _told, by_hand
from xopt.compile.options import BuildOptions
from xopt.evaluate.held import Loss
from xopt.evaluate.statistics import accuracy, paired_bootstrap


def test_what_few_rows_tell_is_what_an_interval_leaves_out() -> None:
    """Six lost answers of 500 are beyond chance, five are not."""
    for lost, beyond in ((5, False), (6, True)):
        kept = np.arange(500) >= lost
        found = paired_bootstrap(accuracy(np.ones(500, bool)), accuracy(kept), resamples=20_000)
        assert Loss(500, 100.0, 100.0 - lost / 5, found.interval()).beyond(0.5) is beyond
        told = _told(
            {"rows": 500, "ci95": paired_bootstrap(accuracy(kept), accuracy(kept)).interval()}
        )
        assert (lost / 5 > told) is beyond


def test_few_rows_do_not_tell_a_small_loss_from_chance() -> None:
    """Of six rows none turned over: [0, 0] proves nothing."""
    assert _told({"rows": 6, "ci95": [0.0, 0.0]}) > 60
    assert _told({"rows": 3, "ci95": [0.0, 0.0]}) == 100
    assert _told({"rows": 1000, "ci95": [-0.9, 0.5]}) == pytest.approx(0.7)


def test_the_mix_that_was_found_is_offered_as_it_is_typed() -> None:
    kept = [
        {"site": "layers.1.ffn_in", "precision": "bf16"},
        {"site": "embeddings", "precision": "fp32"},
        {"site": "layers.0.ffn_in", "precision": "bf16"},
    ]
    asked = BuildOptions("my model", task="xnli", max_drop=0.5, data="rows", out="there")
    assert by_hand(asked, {"kept": kept}) == (
        "xopt build 'my model' --task xnli --bf16-sites layers.0.ffn_in,layers.1.ffn_in "
        "--fp32-sites embeddings"
    )
