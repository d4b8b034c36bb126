"""INT8 that is not faster is said, with the precision that is."""

import pytest

from xopt.cli.bench import speed_notes
from xopt.cli.speed_gate import speed_note


def timed(int8: float, fp32: float) -> dict[str, dict[str, float]]:
    return {"a (int8)": {"median_ms": int8}, "b (fp32)": {"median_ms": fp32}}


@pytest.mark.parametrize(("int8", "fp32", "said"), [(1, 2, False), (2, 2, True), (3, 2, True)])
def test_only_where_int8_is_not_faster(int8: float, fp32: float, said: bool) -> None:
    note = speed_note(timed(int8, fp32), "a (int8)", "b (fp32)", "mixed32")
    assert bool(note) == said
    assert not said or "take b (fp32)" in note


def test_a_bench_says_it_of_each_case_and_of_two_precisions_alone() -> None:
    cases = {"slow": timed(3, 2), "fast": timed(1, 2)}
    precisions = {"a (int8)": "int8", "b (fp32)": "fp32"}
    [note] = speed_notes(cases, precisions)
    assert "on slow (3.00 and 2.00 ms)" in note
    assert speed_notes(cases, dict.fromkeys(precisions, "int8")) == []
    assert speed_notes({"slow": {"a (int8)": {"median_ms": 1.0}}}, {"a (int8)": "int8"}) == []
