"""The search itself, on losses that are given: which sites, checked on which rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from xopt.compile.options import BuildOptions
from xopt.compile.site_search import SiteSearch
from xopt.errors import BuildError
from xopt.evaluate.held import Loss
from xopt.progress import Silent

SITES = [f"layers.{n}.ffn_act" for n in range(20)]
# Swahili's error is in two layers, German's in one, and what is left is even.
ERRORS = {site: {"sw": 1.0, "de": 1.0} for site in SITES}
ERRORS[SITES[7]]["sw"], ERRORS[SITES[3]]["sw"], ERRORS[SITES[5]]["de"] = 50.0, 30.0, 40.0


ASKED = BuildOptions("my model", task="xnli", max_drop=0.5, data="d", seed=3)
TYPED = {"command": ASKED.command, "exact": ASKED.exact_command()}

# What bf16 leaves of INT8's error.
LEFT = 0.01


def searched(
    lost: Callable[[Any, list[str]], float], floor: float = 0.5, *, bf16: bool = False
) -> Any:
    """A search in which Swahili loses ``lost(mix, its rows)`` points, German none."""

    def of(reference: Any, sites: Mapping[str, str], rows: dict[str, list[str]]) -> dict[str, Loss]:
        assert reference is None
        found = {"sw": lost(sites, rows["sw"]), "de": 0.0}
        return {code: Loss(9, 80.0, 80.0 - n, (-n - 0.1, -n + 0.1)) for code, n in found.items()}

    rows = [{"sw": [name], "de": [name]} for name in ("seen", "first", "second")]
    data = SimpleNamespace(search=rows[0], checks=rows[1:])
    third = {"bf16": 0.05 / 3} if bf16 else {}
    costs: dict[str, dict[str, float]] = {site: third | {"fp32": 0.05} for site in SITES}
    errors = {
        site: {"int8": found, "bf16": {code: LEFT * error for code, error in found.items()}}
        for site, found in ERRORS.items()
    }

    def side(mix: Mapping[str, str] | None) -> Any:
        return None if mix is None else dict(mix)

    search = SiteSearch(data, SimpleNamespace(of=of), side, errors, costs, Silent(), **TYPED)  # type: ignore[arg-type]
    return search, lambda: search.run(floor)


def test_the_fewest_sites_by_error_for_cost() -> None:
    search, run = searched(lambda sites, rows: 0.0 if {SITES[7], SITES[3]} <= set(sites) else 3.0)
    sites, losses = run()
    assert sites == {SITES[7]: "fp32", SITES[3]: "fp32"}
    assert search.blamed == {site: ["sw"] for site in sites}
    assert losses["sw"].difference == 0
    assert [one["rows"] for one in search.tried][-1] == "check 1"
    # No mix of more sites than it takes by doubling.
    assert max(len(one["fp32_sites"]) for one in search.tried) == 2


def test_every_number_of_sites_is_found() -> None:
    for wanted in range(len(SITES)):
        _, run = searched(lambda sites, rows, n=wanted: 0.0 if len(sites) >= n else 3.0)  # type: ignore[misc]
        assert len(run()[0]) == wanted


def test_a_dear_site_waits_for_cheap_ones() -> None:
    search, run = searched(lambda sites, rows: 0.0 if sites else 3.0)
    search.costs = search.costs | {SITES[7]: {"fp32": 0.5}}
    assert run()[0] == {SITES[3]: "fp32"}


def test_bf16_comes_before_fp32_and_fp32_where_bf16_is_not_enough() -> None:
    """All sites but the last go to bf16 before one goes on: its last percent is cheap to leave."""
    _, run = searched(lambda mix, rows: 0.0 if len(mix) >= 2 else 3.0, bf16=True)
    assert run()[0] == {SITES[7]: "bf16", SITES[3]: "bf16"}
    search, run = searched(lambda mix, rows: 0.0 if mix.get(SITES[7]) == "fp32" else 3.0, bf16=True)
    mix, _ = run()
    assert mix[SITES[7]] == "fp32"
    assert list(mix.values()).count("fp32") == 1
    assert any(one["bf16_sites"] and not one["fp32_sites"] for one in search.tried)
    # Nor is fp32 asked where no site needs it.
    searched_too, run = searched(lambda mix, rows: 0.0 if mix else 3.0, bf16=True)
    run()
    assert not any(one["fp32_sites"] for one in searched_too.tried)


def test_a_site_that_bf16_does_not_help_goes_to_fp32_at_once() -> None:
    search, run = searched(lambda mix, rows: 0.0 if SITES[7] in mix else 3.0, bf16=True)
    search.errors[SITES[7]]["bf16"] = search.errors[SITES[7]]["int8"]
    assert run()[0][SITES[7]] == "fp32"


def test_the_last_int8_site_stays() -> None:
    search, run = searched(lambda mix, rows: 3.0, bf16=True)
    with pytest.raises(BuildError, match="with 19 of 20 sites in fp32 Swahili still loses"):
        run()
    assert len(search.tried) < 12


def test_rows_on_which_a_mix_failed_join_the_search_and_others_check_it() -> None:
    def lost(sites: list[str], rows: list[str]) -> float:
        return 3.0 if "first" in rows and len(sites) < 3 else 0.0

    search, run = searched(lost)
    sites, _ = run()
    assert len(sites) == 3
    assert search.seen["sw"] == ["seen", "first"]
    assert search.tried[-1]["rows"] == "check 2"


def test_a_mix_that_fails_both_checks_is_refused_with_the_way_to_have_it() -> None:
    _, run = searched(
        lambda sites, rows: 3.0 if rows in (["first"], ["second"]) or not sites else 0.0
    )
    with pytest.raises(BuildError, match="Swahili -3") as refused:
        run()
    again = "xopt build 'my model' --seed 3 --task xnli"
    assert refused.value.hint.endswith(f"{again} --fp32-sites {SITES[7]}")
    _, run = searched(
        lambda sites, rows: 3.0 if rows in (["first"], ["second"]) or not sites else 0.0, bf16=True
    )
    with pytest.raises(BuildError, match="1 of 20 sites in bf16") as refused:
        run()
    assert refused.value.hint.endswith(f"{again} --bf16-sites {SITES[7]}")


def test_where_only_fp32_holds_it_is_said() -> None:
    search, run = searched(lambda sites, rows: 3.0)
    with pytest.raises(
        BuildError, match="with 19 of 20 sites in fp32 Swahili still loses"
    ) as not_so:
        run()
    assert not_so.value.hint.endswith("xopt build 'my model' --task xnli --precision fp32")
    assert len(search.tried) < 10


def test_the_language_that_is_named_is_beyond_the_floor_and_not_one_that_lost_by_chance() -> None:
    search, run = searched(lambda sites, rows: 3.0)
    few, many = Loss(9, 80.0, 71.0, (-20.0, 2.0)), Loss(900, 80.0, 77.0, (-4.0, -2.0))
    search.losses = SimpleNamespace(of=lambda *asked: {"de": few, "sw": many})
    with pytest.raises(BuildError, match=r"Swahili still loses 3\.00"):
        run()
    assert search.tried[-1]["beyond"] == ["sw"]
