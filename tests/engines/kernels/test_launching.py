"""Dependent launches: what is asked for on which device, and where the machine code waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from xopt.engines.kernels import launching


@pytest.mark.parametrize(("sm", "dependent"), [(80, False), (89, False), (90, True), (120, True)])
def test_launches_depend_from_sm_90(
    sm: int, dependent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "capability", {0: sm}.__getitem__)
    options = launching.launch_options(torch.device("cuda", 0))
    assert (options["DEPENDENT"], options["launch_pdl"]) == (dependent, dependent)
    options = launching.launch_options(torch.device("cpu"))
    assert (options["DEPENDENT"], options["launch_pdl"]) == (False, False)


@pytest.fixture(scope="module")
def rows(printed: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What ``following_code.py`` prints."""
    return printed("following_code.py")


def test_every_kernel_waits_before_it_touches_memory(rows: list[dict[str, Any]]) -> None:
    """Otherwise it might read what is not yet written, or overwrite what is still read."""
    *rows, names = rows
    following = [row for row in rows if row["dependent"]]
    assert {row["kernel"] for row in following} == set(names["launched"])
    for row in following:
        assert row["places"]["PREEXIT"] < row["places"]["ACQBULK"] < row["memory"], row


def test_older_devices_have_nothing_to_wait_for(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows[:-1] if not row["dependent"] and row["places"]]
