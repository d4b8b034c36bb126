"""Intervals of the paired bootstrap: what they cover, by clusters, rows and languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, norm
from tests.evaluate.tags import NER, noisy, random_tags

from xopt.evaluate.data import open_source
from xopt.evaluate.metrics.chunks import chunk_f1
from xopt.evaluate.statistics import (
    Difference,
    Scored,
    accuracy,
    mean_difference,
    mean_of,
    paired_bootstrap,
    resample,
    typical_turn,
)
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.panx import PanX


def test_the_bootstrap_serves_f1() -> None:
    gold = random_tags(NER, 1, 300)
    good, bad = noisy(gold, NER, 2), noisy(noisy(gold, NER, 2), NER, 3)
    reference, candidate = chunk_f1(gold, good), chunk_f1(gold, bad)
    low, high = paired_bootstrap(reference, candidate, resamples=500).interval()
    assert low < candidate.value - reference.value < high < 0
    # No chunk turned over: two more of 300 sentences, each with one right chunk more or fewer.
    _, found, right = reference.counts.sum(axis=0)
    end = 1.959964 * np.sqrt(2) * 200 / (found + right) * 300 / 302
    assert paired_bootstrap(reference, reference, resamples=50).interval() == pytest.approx(
        (-end, end), rel=1e-5
    )


def bonett_price(gained: int, lost: int, n: int) -> tuple[float, float]:
    """As the paper writes it: one more in each of both cells, two more in all; in points."""
    p12, p21 = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    error = np.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    return 100 * (p12 - p21 - 1.959964 * error), 100 * (p12 - p21 + 1.959964 * error)


def test_accuracy_has_the_interval_of_bonett_and_price() -> None:
    # The example of its first author's package (statpsych, ci.prop.ps): 12, 4, 26 and 6 of 48.
    assert bonett_price(26, 4, 48) == pytest.approx((25.48067, 62.51933), abs=1e-5)
    for gained, lost, n in ((26, 4, 48), (0, 0, 64), (0, 1, 24), (2, 9, 500), (0, 3, 1000)):
        before = np.arange(n) >= gained
        after = np.arange(n) < n - lost
        found = paired_bootstrap(accuracy(before), accuracy(after), resamples=20_000)
        low, high = bonett_price(gained, lost, n)
        # The deviation of n draws is off by 1 / sqrt(2n) of it: 4 times that.
        error = 4 / np.sqrt(2 * 20_000) * (high - low) / 2
        assert found.interval() == pytest.approx((low, high), abs=error), (gained, lost, n)


def test_a_rare_loss_is_inside_as_often_as_is_said() -> None:
    """Exactly, over every number of lost answers; it was 47 and 87 %."""
    for n, loss, least in ((64, 0.01, 0.95), (1000, 0.005, 0.95), (5000, 0.02, 0.94)):
        lost = np.arange(int(n * loss + 8 * np.sqrt(n * loss) + 2))
        # The bootstrap's variance of a mean over rows is known.
        ends = [
            Difference(-100 * k / n, spread(100 * np.sqrt(k * (1 - k / n)) / n), n, 100 / n)
            for k in lost
        ]
        low, high = np.array([found.interval() for found in ends]).T
        inside = (low <= -100 * loss) & (-100 * loss <= high)
        assert binom.pmf(lost, n, loss)[inside].sum() > least


def spread(deviation: float) -> np.ndarray:
    """Two draws of that deviation."""
    return np.array([-deviation, deviation])


def test_an_interval_over_repeated_examples_covers_what_it_says() -> None:
    """A third of the rows are copies, as in PAN-X Indonesian; the true difference is known."""
    generator = np.random.default_rng(0)
    sizes = np.concatenate([[30, 20, 10, 10], np.full(40, 3), np.ones(250, int)])
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    nothing = mean_of(np.zeros(len(clusters)))
    covered = {"clusters": 0, "rows": 0}
    for seed in range(300):
        changed = generator.choice([-1.0, 0.0, 1.0], size=len(sizes), p=[0.12, 0.78, 0.1])
        candidate = mean_of(changed[clusters])
        for name, known in (("clusters", clusters.tolist()), ("rows", None)):
            found = paired_bootstrap(nothing, candidate, clusters=known, resamples=300, seed=seed)
            low, high = found.interval()
            covered[name] += low <= -2.0 <= high
    # Counts of 300 draws, within 4 of their deviations.
    assert abs(covered["clusters"] - 300 * 0.95) <= 4 * np.sqrt(300 * 0.95 * 0.05)
    # Rows that count as independent make the deviation too small, by the root of the copies' share.
    share = norm.cdf(1.96 / np.sqrt(np.square(sizes).sum() / sizes.sum()) * np.array([-1, 1]))
    few = share[1] - share[0]
    assert abs(covered["rows"] - 300 * few) <= 4 * np.sqrt(300 * few * (1 - few))


# Of 2,000 comparisons, of which 95 % are to be covered: 4 of the share's deviations.
OFF = 4 * np.sqrt(0.95 * 0.05 / 2000)


def coverage(clusters: list[int], share: list[float], seed: int = 5) -> float:
    """How often the interval holds the true difference, in 2,000 simulated comparisons.

    Args:
        clusters: of the rows.
        share: of the distinct examples that the candidate loses, keeps and gains.
        seed: of the comparisons.
    """
    _, index = np.unique(clusters, return_inverse=True)
    generator = np.random.default_rng(seed)
    changed = generator.choice([-1.0, 0.0, 1.0], size=(index.max() + 1, 2000), p=share)[index]
    counts = np.concatenate([changed, np.ones((len(index), 1))], axis=1)

    def score(sums: np.ndarray) -> np.ndarray:
        return 100.0 * sums[..., :-1] / sums[..., -1:]

    nothing = Scored(np.concatenate([0 * changed, counts[:, -1:]], axis=1), score)
    candidate = Scored(counts, score)
    draws = resample(nothing, candidate, clusters=clusters, resamples=500, seed=seed)
    turns = typical_turn(nothing, candidate, clusters=clusters)
    seen = 100 * changed.mean(axis=0)
    found = [
        Difference(value, one, len(set(clusters)), turn).interval()
        for value, one, turn in zip(seen, draws.T, turns, strict=True)
    ]
    low, high = np.array(found).T
    true = 100 * (share[2] - share[0])
    return float(np.mean((low <= true) & (true <= high)))


def test_coverage_over_the_real_repeats_of_panx(xtreme_data: Path) -> None:
    """In every language that is at hand; rows by themselves cover far less where many repeat."""
    task = make_task("panx", {"split": "validation"})
    source = open_source(str(xtreme_data), probe=("", ""))
    found = {}
    for language in task.available(source):
        clusters = task.clusters(task.load(source, language))
        found[language] = coverage(clusters, [0.04, 0.93, 0.03])
    assert len(found) >= 5
    outside = {code: value for code, value in found.items() if not abs(value - 0.95) <= OFF}
    assert not outside


def test_coverage_where_one_example_has_a_tenth_of_the_rows() -> None:
    """As in PAN-X Greek and Bulgarian, only more so; each with its own copies covers less."""
    sizes = np.concatenate([[60, 30, 15, 10, 5], np.full(30, 2), np.ones(420, int)])
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist()
    for share in ([0.06, 0.9, 0.04], [0.12, 0.78, 0.1]):
        assert abs(coverage(clusters, share) - 0.95) <= OFF


def test_the_mean_of_translated_rows_is_resampled_by_rows() -> None:
    """What is lost in the same rows of every language does not average out."""
    generator = np.random.default_rng(1)
    lost = -(generator.random((10, 800)) < 0.1).astype(float)
    nothing = mean_of(np.zeros(800))

    def half_width(languages: np.ndarray) -> float:
        drawn = [paired_bootstrap(nothing, mean_of(row), resamples=1000) for row in languages]
        low, high = mean_difference(drawn).interval()
        assert low < 100 * languages.mean() < high
        return (high - low) / 2

    one = half_width(lost[:1])
    assert half_width(np.repeat(lost[:1], 10, axis=0)) == pytest.approx(one, rel=1e-6)
    for languages in (lost[:1], lost):
        error = 100 * languages.mean(axis=0).std() / np.sqrt(800)
        # The deviation of n draws is off by 1 / sqrt(2n) of it: 4 times that.
        assert half_width(languages) == pytest.approx(1.96 * error, rel=4 / np.sqrt(2 * 1000))


def test_few_examples_have_an_interval() -> None:
    nothing, lost = mean_of(np.zeros(1)), mean_of(-np.ones(1))
    _, high = bonett_price(0, 1, 1)
    found = paired_bootstrap(nothing, lost, resamples=200).interval()
    assert found == pytest.approx((-100.0, high), abs=1e-3)
    nobody = mean_of(np.zeros(0))
    assert paired_bootstrap(nobody, nobody, resamples=20).interval() == (-100.0, 100.0)


def test_rows_that_ask_the_same_are_one_cluster() -> None:
    rows = [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"tokens": ["a b"], "tags": ["O"]},
        {"tokens": ["a", "b"], "tags": ["O", "B-PER"]},
    ]
    assert PanX().clusters(rows) == [0, 1, 0]
    reference = mean_of(np.array([0.0, 1.0, 1.0]))
    alone = paired_bootstrap(reference, reference, clusters=[0, 1, 0], resamples=20)
    assert (alone.seen, alone.rows) == (0.0, 2)
    # One of three rows, or two copies at once: the root of their mean square.
    assert alone.turn == pytest.approx(100 * np.sqrt((4 + 1) / 2) / 3)


def test_a_mean_over_languages_has_two_examples_more_in_all() -> None:
    generator = np.random.default_rng(2)
    nothing = mean_of(np.zeros(1000))
    still = [paired_bootstrap(nothing, nothing, resamples=20)] * 18
    pooled = bonett_price(0, 0, 18_000)
    assert mean_difference(still).interval() == pytest.approx(pooled, rel=1e-6)
    lost = -(generator.random((18, 1000)) < 0.001).astype(float)
    drawn = [paired_bootstrap(nothing, mean_of(row), resamples=4000) for row in lost]
    pooled = bonett_price(0, int(-lost.sum()), 18_000)
    width = pooled[1] - pooled[0]
    found = mean_difference(drawn).interval()
    assert found == pytest.approx(pooled, abs=4 / np.sqrt(2 * 4000) * width)
