"""Tables and fronts from made-up results, against numpy and scipy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from xopt.evaluate.pareto import pareto_front
from xopt.tune.sweep.pareto import pareto_points, plot_pareto
from xopt.tune.sweep.table import interval, make_document


def result(
    intermediate: str, target: str, seed: int, scores: dict[str, float], **changes: Any
) -> dict[str, Any]:
    cell = {
        "checkpoint": "base", "intermediate": intermediate, "target": target, "seed": seed,
        "precision": "fp32", "engine": "openvino", "student_layers": 0, "qat": False,
    }  # fmt: skip
    throughput = changes.pop("throughput", {"tokens": 100, "tokens_per_s": 50.0})
    found: dict[str, Any] = {
        "cell": cell | {k: v for k, v in changes.items() if k in cell},
        "metric": "accuracy",
        "languages": {code: {"n": 5, "score": score} for code, score in scores.items()},
        "mean": float(np.mean(list(scores.values()))),
        "throughput": {"sentences": 10, "sentences_per_s": 5.0} | throughput,
        "bundle": {"fingerprint": "f", "size_mib": 7.0},
    }
    if "retention" in changes:
        kept = changes["retention"]
        found["retention"] = {
            "mean": float(np.mean(list(kept.values()))),
            "languages": {code: {"difference": d} for code, d in kept.items()},
        }
    return found


@pytest.mark.parametrize("values", [[71.2, 70.4], [71.2, 70.4, 73.0], list(range(30))])
def test_the_interval_is_scipys(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx([expected.low, expected.high])
    assert interval([1.0]) is None


def test_rows_are_differences_paired_over_seeds() -> None:
    rng = np.random.default_rng(0)
    scores = {
        (name, seed): {"en": float(rng.normal(70, 5)), "sw": float(rng.normal(50, 5))}
        for name in ("mnli", "none")
        for seed in (0, 1, 2)
    }
    # "none" need not come first, and a seed that only one of the two has does not count.
    found = [result(name, "xnli", seed, s) for (name, seed), s in scores.items()]
    found.append(result("mnli", "xnli", 3, {"en": 0.0, "sw": 0.0}))
    [table] = make_document("t", found)["tables"]
    first, second = table["rows"]
    assert (first["intermediate"], first["difference"]) == ("none", False)
    assert (second["intermediate"], second["difference"]) == ("mnli", True)
    base = [np.mean(list(scores["none", s].values())) for s in range(3)]
    ours = [np.mean(list(scores["mnli", s].values())) for s in range(3)]
    assert first["targets"]["xnli"]["mean"] == pytest.approx(np.mean(base))
    cell = second["targets"]["xnli"]
    assert list(cell["seeds"]) == ["0", "1", "2"]
    paired = stats.ttest_rel(ours, base).confidence_interval(0.95)
    assert cell["mean"] == pytest.approx(np.mean(ours) - np.mean(base))
    assert cell["ci95"] == pytest.approx([paired.low, paired.high])
    assert cell["absolute"] == pytest.approx(np.mean(ours))
    by_language = {
        code: np.mean([scores["mnli", s][code] - scores["none", s][code] for s in range(3)])
        for code in ("en", "sw")
    }
    worst = min(by_language, key=lambda code: by_language[code])
    assert cell["worst"] == {"language": worst, "value": pytest.approx(by_language[worst])}


def test_without_none_every_row_is_absolute_and_the_average_needs_all_targets() -> None:
    found = [
        result("mnli", "xnli", 0, {"en": 80.0}), result("mnli", "panx", 0, {"en": 60.0}),
        result("squad", "xnli", 0, {"en": 82.0}),
    ]  # fmt: skip
    [table] = make_document("t", found)["tables"]
    first, second = table["rows"]
    assert not first["difference"]
    assert not second["difference"]
    assert first["average"]["mean"] == pytest.approx(70.0)
    assert first["average"]["ci95"] is None
    assert second["average"] is None
    assert "panx" not in second["targets"]


def test_precisions_have_tables_of_their_own_with_retention_and_throughput() -> None:
    fast = {"tokens": 300, "tokens_per_s": 300.0}
    slow = {"tokens": 100, "tokens_per_s": 50.0}
    kept = {"en": -0.5, "sw": -2.0}
    found = [
        result("none", "xnli", seed, {"en": 80.0, "sw": 60.0}, precision=precision, **more)
        for seed, speed in ((0, fast), (1, slow))
        for precision, more in (
            ("fp32", {"throughput": slow}),
            ("int8", {"throughput": speed, "retention": kept}),
        )
    ]
    document = make_document("t", found)
    exact, reduced = document["tables"]
    assert (exact["precision"], reduced["precision"]) == ("fp32", "int8")
    [row] = reduced["rows"]
    cell = row["targets"]["xnli"]
    # 300 tokens in 1 s and 100 in 2 s: 400 in 3, not the mean of the rates.
    assert cell["tokens_per_s"] == pytest.approx(400 / 3)
    assert cell["retention"] == {"mean": -1.25, "worst": {"language": "sw", "value": -2.0}}
    assert "retention" not in exact["rows"][0]["targets"]["xnli"]


def test_the_front_holds_what_nothing_dominates() -> None:
    rng = np.random.default_rng(1)
    points = [(float(x), float(y)) for x, y in rng.random((60, 2)).round(1)]
    front = pareto_front(points)
    for number, (x, y) in enumerate(points):
        better = [(a, b) for a, b in points if a >= x and b >= y and (a, b) != (x, y)]
        assert (number in front) == (not better)
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)]) == {0, 1}


def test_points_join_targets_only_where_a_choice_has_them_all(tmp_path: Path) -> None:
    fast = {"throughput": {"tokens": 100, "tokens_per_s": 200.0}}
    found = [
        result("none", "xnli", 0, {"en": 80.0}), result("none", "xnli", 1, {"en": 84.0}),
        result("none", "tatoeba", 0, {"en": 40.0}),
        result("none", "xnli", 0, {"en": 79.0}, precision="int8", **fast),
        result("none", "tatoeba", 0, {"en": 39.0}, precision="int8", **fast),
        result("none", "xnli", 0, {"en": 70.0}, student_layers=6, **fast),
    ]  # fmt: skip
    points = pareto_points(found)
    assert list(points) == ["xnli", "tatoeba", "average"]
    assert [p["score"] for p in points["xnli"]] == [82.0, 79.0, 70.0]
    assert [p["front"] for p in points["xnli"]] == [True, True, False]
    assert [p["score"] for p in points["average"]] == [61.0, 59.0]
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        place = tmp_path / f"plot.{ending}"
        plot_pareto(points, place)
        assert place.read_bytes().startswith(start)
