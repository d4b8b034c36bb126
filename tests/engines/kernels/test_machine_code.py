"""The machine code of the chosen tiles: blocks an SM, spills and the epilogue's length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def rows(printed: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What ``machine_code.py`` prints; all of its tiles for all SMs would take a minute more."""
    return printed("machine_code.py", "few")


def test_two_blocks_fit_into_an_sm_and_nothing_spills(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows if row["blocks"] < 2 or row["spill_bytes"]]


def test_a_tile_of_64_rows_keeps_as_many_warps_at_work(rows: list[dict[str, Any]]) -> None:
    """Four blocks of 4 warps where a tile of 128 rows has two of 8."""
    small = [row for row in rows if "head_dim 64, 64 x" in row["kernel"]]
    assert {row["sm"] for row in small} == {80, 86, 89, 90, 120}
    assert {row["kernel"].split(",")[0] for row in small} == {"attention fp16", "attention INT8"}
    assert not [row for row in small if row["blocks"] * row["warps"] < 16 or row["registers"] > 128]


def test_bulk_copies_are_all_there_is_and_two_blocks_fit(
    printed: Callable[[str], list[dict[str, Any]]],
) -> None:
    rows = printed("bulk_code.py")
    assert len(rows) == 6
    for row in rows:
        assert row["blocks"] >= 2, row
        assert (row["spill_bytes"], row["scratch_bytes"], row["other"]) == (0, 0, 0), row
        assert row["bulk"] >= 6, row
        assert row["products"] == (["HGMMA"] if "fp16" in row["kernel"] else ["IGMMA"]), row
        assert row["waits"], row
    # Behind the last product of resident programs stands the way to the next tile, too.
    most = {"ffn_in": 18, "ffn_in fp16": 14, "ffn_out": 6}
    for row in rows:
        name, *resident = row["kernel"].split(", ")
        assert row["epilogue"] <= most[name] + 2 * len(resident), row


def test_parts_are_counted_behind_what_they_wrote(rows: list[dict[str, Any]]) -> None:
    assert {row["sm"] for row in rows if row["joined"]} == {80, 90, 120}
    assert all(row["joined"] == ("parts" in row["kernel"]) for row in rows)


def test_shared_memory_is_not_read_byte_by_byte(rows: list[dict[str, Any]]) -> None:
    """But for one flag a row that says behind the loop that an int8 context was lost."""
    assert not [row for row in rows if row["byte_loads"] > ("to int8" in row["kernel"])]


def test_gelu_and_quantization_take_eighteen_instructions(rows: list[dict[str, Any]]) -> None:
    most = {"ffn_in": 18, "ffn_in, a scale per channel": 18, "ffn_in fp16": 14, "ffn_out": 6}
    linear = [row for row in rows if row["kernel"] in most]
    assert {row["kernel"] for row in linear} == set(most)
    assert not [row for row in linear if row["epilogue"] > most[row["kernel"]]]
