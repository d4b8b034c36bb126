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
    monkeypatch.setattr(launching, "_TAKEN", {0: True})
    options = launching.launch_options(torch.device("cuda", 0))
    assert (options["DEPENDENT"], options["launch_pdl"]) == (dependent, dependent)
    options = launching.launch_options(torch.device("cpu"))
    assert (options["DEPENDENT"], options["launch_pdl"]) == (False, False)


@pytest.mark.parametrize("refused", [False, True])
def test_a_driver_that_refuses_is_asked_and_told_of_once(
    refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[torch.device] = []

    def try_out(device: torch.device) -> None:
        asked.append(device)
        if refused:
            raise RuntimeError("Triton Error [CUDA]: operation not permitted\nmore")

    capturing = iter([True, False])
    monkeypatch.setattr(launching, "capability", {0: 90, 1: 90}.__getitem__)
    monkeypatch.setattr(launching, "_TAKEN", {})
    monkeypatch.setattr(launching, "_try_out", try_out)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: next(capturing))
    first = torch.device("cuda", 0)
    # What somebody captures is not disturbed.
    assert not launching.launch_options(first)["launch_pdl"]
    assert asked == []
    for _ in range(3):
        options = launching.launch_options(first)
        assert (options["DEPENDENT"], options["launch_pdl"]) == (not refused, not refused)
    assert asked == [first]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == refused
    assert not refused or "operation not permitted): kernels are launched one" in said[0]


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
