"""Intervals of the paired bootstrap: what they cover, by clusters, rows and languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from tests.evaluate.tags import NER, noisy, random_tags

from xopt.evaluate.data import open_source
from xopt.evaluate.metrics.chunks import chunk_f1
from xopt.evaluate.statistics import Scored, interval, mean_of, paired_bootstrap, resample
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.panx import PanX


def test_the_bootstrap_serves_f1() -> None:
    gold = random_tags(NER, 1, 300)
    good, bad = noisy(gold, NER, 2), noisy(noisy(gold, NER, 2), NER, 3)
    reference, candidate = chunk_f1(gold, good), chunk_f1(gold, bad)
    low, high = paired_bootstrap(reference, candidate, resamples=500)
    assert low < candidate.value - reference.value < high < 0
    assert paired_bootstrap(reference, reference, resamples=50) == (0.0, 0.0)


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
            low, high = paired_bootstrap(
                nothing, candidate, clusters=known, resamples=300, seed=seed
            )
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
    draws = resample(nothing, Scored(counts, score), clusters=clusters, resamples=500, seed=seed)
    seen = 100 * changed.mean(axis=0)
    found = [interval(value, one) for value, one in zip(seen, draws.T, strict=True)]
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
        draws = [resample(nothing, mean_of(row), resamples=1000) for row in languages]
        low, high = interval(100 * languages.mean(), np.mean(draws, axis=0))
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
    assert paired_bootstrap(nothing, lost, resamples=200) == (-100.0, -100.0)


def test_rows_that_ask_the_same_are_one_cluster() -> None:
    rows = [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"tokens": ["a b"], "tags": ["O"]},
        {"tokens": ["a", "b"], "tags": ["O", "B-PER"]},
    ]
    assert PanX().clusters(rows) == [0, 1, 0]
    reference = mean_of(np.array([0.0, 1.0, 1.0]))
    alone = paired_bootstrap(reference, reference, clusters=[0, 1, 0], resamples=20)
    assert alone == (0.0, 0.0)
