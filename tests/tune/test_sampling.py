"""How often each task of a multi-task run is drawn."""

from __future__ import annotations

from collections import Counter

import pytest
from scipy import stats

from xopt.errors import InputError
from xopt.tune.sampling import CAP, TaskSampler, task_probabilities

SIZES = {"mnli": 392_702, "csqa": 9_741, "hellaswag": 39_905, "qqp": 363_846}
DRAWS = 6_000


@pytest.mark.parametrize(
    ("sampling", "temperature"), [("proportional", 1.0), ("uniform", 1.0), ("temperature", 2.5)]
)
def test_draws_follow_the_probabilities(sampling: str, temperature: float) -> None:
    wanted = task_probabilities(SIZES, sampling=sampling, temperature=temperature)
    sampler = TaskSampler(wanted, seed=7)
    drawn = Counter(sampler.task(step) for step in range(DRAWS))
    observed = [drawn[name] for name in SIZES]
    expected = [wanted[name] * DRAWS for name in SIZES]
    # The draws are seeded: at this level a right sampler fails for one seed in a thousand.
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    # The test can fail: proportions without the cap are not what was drawn.
    uncapped = [size / sum(SIZES.values()) * DRAWS for size in SIZES.values()]
    assert stats.chisquare(observed, uncapped).pvalue < 1e-12


def test_the_cap_holds() -> None:
    found = task_probabilities(SIZES)
    assert CAP == 131_072
    assert found["mnli"] == found["qqp"]
    capped = {"mnli": CAP, "csqa": 9_741, "hellaswag": 39_905, "qqp": CAP}
    total = sum(capped.values())
    assert found == pytest.approx({name: size / total for name, size in capped.items()})
    assert task_probabilities(SIZES, cap=1) == pytest.approx(dict.fromkeys(SIZES, 0.25))


def test_temperature_lies_between_proportional_and_uniform() -> None:
    proportional = task_probabilities(SIZES)
    assert task_probabilities(SIZES, sampling="temperature", temperature=1) == pytest.approx(
        proportional
    )
    flat = task_probabilities(SIZES, sampling="temperature", temperature=1e9)
    assert flat == pytest.approx(task_probabilities(SIZES, sampling="uniform"))
    half = task_probabilities(
        {"a": 100, "b": 400, "c": 900}, sampling="temperature", temperature=2.0, cap=400
    )
    assert half == pytest.approx({"a": 10 / 50, "b": 20 / 50, "c": 20 / 50})
    sharp = task_probabilities({"a": 9, "b": 10}, sampling="temperature", temperature=1e-5)
    assert sharp == pytest.approx({"a": 0.0, "b": 1.0})


def test_a_step_has_the_same_task_in_any_order_and_another_for_another_seed() -> None:
    wanted = task_probabilities(SIZES, sampling="uniform")
    forwards = [TaskSampler(wanted, seed=3).task(step) for step in range(200)]
    sampler = TaskSampler(wanted, seed=3)
    assert [sampler.task(step) for step in reversed(range(200))] == forwards[::-1]
    assert [TaskSampler(wanted, seed=4).task(step) for step in range(200)] != forwards


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampling": "proportionl"}, "Did you mean 'proportional'"),
        ({"sizes": {}}, "no task"),
        ({"sizes": {"a": 3, "b": 0}}, "b has no training example"),
        ({"sampling": "temperature", "temperature": 0.0}, "above 0"),
        ({"sampling": "temperature", "temperature": float("nan")}, "above 0"),
        ({"cap": 0}, "--examples-cap"),
    ],
)
def test_what_cannot_be_sampled_is_said(given: dict[str, object], message: str) -> None:
    sizes = given.pop("sizes", SIZES)
    with pytest.raises(InputError, match=message):
        task_probabilities(sizes, **given)  # type: ignore[arg-type]


def test_the_sampler_takes_probabilities_only() -> None:
    with pytest.raises(InputError, match="add up to 1"):
        TaskSampler({"a": 0.5, "b": 0.6})
    with pytest.raises(InputError, match="--seed"):
        TaskSampler({"a": 1.0}, seed=-1)
