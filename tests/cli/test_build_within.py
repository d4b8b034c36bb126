"""What ``xopt build --max-drop`` says of the rows that it checked."""

from __future__ import annotations

import pytest

from xopt.cli.build_within import _told


def test_few_rows_do_not_tell_a_small_loss_from_chance() -> None:
    """Of six rows none turned over: [0, 0] proves nothing."""
    assert _told({"rows": 6, "ci95": [0.0, 0.0]}) > 60
    assert _told({"rows": 3, "ci95": [0.0, 0.0]}) == 100
    assert _told({"rows": 1000, "ci95": [-0.9, 0.5]}) == pytest.approx(0.7)
