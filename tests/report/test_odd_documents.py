"""Documents that nobody expects: of one name, with codes of one language, with names as markup."""

import copy
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xopt.errors import InputError
from xopt.languages import MORE_NAMES, NAMES
from xopt.report.documents import Run, read_runs
from xopt.report.families import OTHER, script_and_family
from xopt.report.figures import changes, heat_map, mean_change, plots, titles
from xopt.report.markdown import escape
from xopt.report.render import render_html, render_markdown
from xopt.report.speed import command_section

Write = Callable[[str, Mapping[str, Any]], Path]
HOST = {"cpu": "a CPU", "cores": 2}
TIMED = {"median_ms": 2.0, "samples_ms": [2.0], "tokens_per_s": 900.0}
PROFILE = {"wall_ms": 2.0, "shares": {"products": 1.0}, "layers": {"0": {"products": 1.0}}}
BENCH = {"cases": {"lone": {"e5": TIMED}}, "bundles": {}, "host": HOST}
SEARCH = {
    "schema": "xopt-search/1", "task": "xnli", "metric": "KL divergence, nats", "max_drop": 0.5,
    "kept": [{"site": "layers.1.ffn_act", "languages": ["sw"]}],
    "sites": {
        "embeddings": {"cost": 0.7, "errors": {"sw": 0.001, "th": 0.002}},
        "layers.1.ffn_act": {"cost": 0.1, "errors": {"sw": 0.03, "th": 0.01}},
    },
}  # fmt: skip


def written(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def scored(tatoeba: dict[str, Any], codes: list[str]) -> dict[str, Any]:
    """The evaluation with other codes for its languages."""
    found = dict(zip(codes, tatoeba["languages"].values(), strict=False))
    assert len(found) == len(codes)
    return copy.deepcopy(tatoeba) | {"languages": found, "worst": {"language": codes[0]}}


def ids(page: str) -> list[str]:
    return re.findall(r'\bid="([^"]+)"', page)


def test_runs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, tatoeba: dict[str, Any]
) -> None:
    for number, day in enumerate(("mon", "tue", "wed")):
        tatoeba["mean"] = tatoeba["mean"] | {"candidate": 80.0 + number}
        written(tmp_path, f"{day}/run.json", tatoeba)
        written(tmp_path, f"{day}/bench.json", BENCH | {"profile": {"lone": {"e5": PROFILE}}})
    runs = read_runs([tmp_path / day for day in ("mon", "tue", "wed")])
    evaluated = [run for run in runs if run.kind == "eval"]
    assert titles(evaluated) == [f"tatoeba · {day}/run" for day in ("mon", "tue", "wed")]
    [plot] = plots(runs).values()
    assert len({point.name for point in plot.points}) == 6
    page = render_html(runs, "t")
    assert len(ids(page)) == len(set(ids(page)))
    regions = re.findall(r'role="region" aria-label="([^"]+)"', page)
    assert len(regions) == len(set(regions))


def test_two_runs_in_one_file_have_names_of_their_own(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    entries = [copy.deepcopy(tatoeba) | {"command": f"run {n}"} for n in range(4)]
    runs = read_runs([write("a.json", {"tasks": entries, "groups": {}, "average": None})])
    found = titles(runs)
    assert len(set(found)) == 4
    assert found[1:] == [f"{found[0]} #{n}" for n in (2, 3, 4)]


def test_two_sweeps_of_one_name_are_both_drawn(tmp_path: Path, sweep: dict[str, Any]) -> None:
    other = copy.deepcopy(sweep)
    for point in other["pareto"]["panx"]:
        point["score"] += 1.0
    runs = read_runs([written(tmp_path, "a/s.json", sweep), written(tmp_path, "b/s.json", other)])
    found = plots(runs)
    assert len(found) == 2 * len(sweep["pareto"])
    assert found["panx, sweep e5-small (a/s)"].metric == "seqeval F1"
    page = render_html(runs, "t")
    assert len(ids(page)) == len(set(ids(page)))
    assert "<caption>e5-small (b/s): pip:multilingual-e5-small, fp32 on openvino" in page


def test_a_sweep_says_what_is_open_and_a_target_without_speed_has_no_plot(
    write: Write, sweep: dict[str, Any]
) -> None:
    sweep["pareto"]["panx"] = []
    sweep["open"], sweep["failures"] = ["udpos seed 3"], [{"step": "tune", "message": "no room"}]
    runs = read_runs([write("s.json", sweep)])
    assert "panx, sweep e5-small" not in plots(runs)
    text = render_markdown(runs, "t")
    assert "- open: udpos seed 3" in text
    assert "- failed: tune: no room" in text


def test_codes_of_one_language_in_one_run_keep_their_rows(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    codes = ["nb", "nn", "zh-CN", "zh-TW", "sw"]
    document = scored(tatoeba, codes)
    runs = read_runs([write("a.json", document), write("b.json", tatoeba)])
    rows = {code: cells[0] for _, _, code, cells in heat_map(runs).rows}
    for code in codes:
        found = rows[code]
        assert found is not None
        assert found.difference == document["languages"][code]["difference"]
    page = render_html(runs, "t")
    for name in ("Norwegian (nb)", "Norwegian (nn)", "Chinese (zh-TW)"):
        assert f'<th scope="row">{name}</th>' in page
        assert f">{name}</text>" in page
    assert '<th scope="row">Swahili</th>' in page


def test_languages_of_one_run_alone_are_told(write: Write, tatoeba: dict[str, Any]) -> None:
    after = copy.deepcopy(tatoeba)
    after["languages"]["de"] = after["languages"].pop("deu")
    after["data"]["fingerprints"]["de"] = after["data"]["fingerprints"].pop("deu")
    after["languages"]["ckb"] = after["languages"].pop("fra")
    a, b = read_runs([write("a.json", tatoeba), write("b.json", after)])
    verdicts = {change.code: change.verdict for change in changes(a, b)}
    assert (verdicts["fr"], verdicts["ckb"]) == ("only before", "only after")
    # German under another code is the same language, and of the same examples.
    assert verdicts["de"] == "within noise"
    assert mean_change(a, b) is None
    text = render_markdown([a, b], "t")
    assert re.search(r"\| ckb \| – \| [\d.]+ \| – \| – \| only after \|", text)


def test_the_mean_of_two_runs_is_held_to_its_own_noise(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    tatoeba["mean"]["ci95"] = [-0.3, 0.3]
    after = copy.deepcopy(tatoeba)
    after["mean"]["candidate"] += 0.5
    a, b = read_runs([write("a.json", tatoeba), write("b.json", after)])
    found = mean_change(a, b)
    assert found is not None
    assert found.noise == pytest.approx(0.3 * 2**0.5)
    assert found.verdict == "beyond noise"
    assert ">mean</th>" in render_html([a, b], "t")


@pytest.mark.parametrize(
    "name",
    ["$x^", "$\\frac{a}$", "<b>", 'id="x', "#010203", "&amp;", "a|b", "x" * 300, "العربية", "a\nb"],
)
def test_any_name_is_shown_as_it_is_written(
    write: Write, tatoeba: dict[str, Any], name: str
) -> None:
    document = scored(tatoeba, [name, "sw"]) | {"metric": name}
    runs = read_runs([write("a.json", document)])
    page, text = render_html(runs, name), render_markdown(runs, name)
    assert "<b>" not in page
    shown = re.sub(r"\s+", " ", name)
    rows = re.findall(r'<th scope="row">(.*?)</th>', page, flags=re.DOTALL)
    assert len([row for row in rows if re.sub(r"\s+", " ", row) not in ("Swahili", "mean")]) >= 3
    assert escape(shown) in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} <= {3, 6, 8, 9}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("*a* `b` ~c~", r"\*a\* \`b\` \~c\~"),
        ("_a_ but near_duplicates", r"\_a\_ but near_duplicates"),
        ("[a](http://b) [−1.0, +2.0]", r"[a]\(http://b) [−1.0, +2.0]"),
        ("<script> a < b &amp; R&D", r"\<script> a < b \&amp; R&D"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("a\n\n- b", "a - b"),
    ],
)
def test_markdown_says_what_the_text_says(text: str, line: str) -> None:
    assert escape(text) == line


def test_a_command_with_a_fence_stays_in_its_fence(write: Write, tatoeba: dict[str, Any]) -> None:
    command = "xopt eval '```\n# x'"
    text = render_markdown(read_runs([write("a.json", tatoeba | {"command": command})]), "t")
    assert f"````\n{command}\n````" in text


def test_every_language_that_has_a_name_has_a_script_and_a_family() -> None:
    assert [code for code in NAMES | MORE_NAMES if script_and_family(code) == OTHER] == []
    assert script_and_family("sr-Latn") == ("Latin", "Slavic")
    assert script_and_family("zho_Hant") == ("Han", "Sino-Tibetan")
    assert script_and_family("ckb") == ("Arabic", "Iranian")
    assert script_and_family("x-private") == OTHER


def test_what_int8_does_at_each_site_is_shown(write: Write) -> None:
    runs = read_runs([write("search.json", SEARCH)])
    text = render_markdown(runs, "t")
    rows = [line for line in text.splitlines() if line.startswith(("| layers", "| embed"))]
    assert rows == [
        "| layers.1.ffn_act | fp32 | 2.00e−02 | 93.0 | Swahili 3.00e-02 | 10.0 |",
        "| embeddings | INT8 | 1.50e−03 | 7.0 | Thai 2.00e-03 | 70.0 |",
    ]
    assert "layers.1.ffn_act 2.00e-02; embeddings 1.50e-03" in render_html(runs, "t")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (BENCH | {"profile": {"lone": 5}}, "profile.lone is 5"),
        (BENCH | {"profile": {"lone": {"e5": {"wall_ms": 1.0}}}}, "lacks profile.lone.e5.shares"),
        (BENCH | {"cases": {"lone": {"e5": TIMED | {"samples_ms": [-1.0]}}}}, "no times"),
        (SEARCH | {"sites": {"embeddings": {"cost": 0.1, "errors": {}}}}, "was not measured"),
        (SEARCH | {"schema": "xopt-search/2"}, "has the schema xopt-search/2"),
    ],
)
def test_a_damaged_bench_or_search_is_refused(
    write: Write, document: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_runs([write("x.json", document)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": 0}, "sw has 0 examples"),
        ({"ci95": [1.0, -1.0]}, "the interval of sw ends before it begins"),
        ({"difference": float("nan")}, "languages.sw.difference is NaN"),
    ],
)
def test_a_language_of_impossible_figures_is_refused(
    write: Write, tatoeba: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    document = scored(tatoeba, ["sw"])
    document["languages"]["sw"] = document["languages"]["sw"] | change
    with pytest.raises(InputError, match=re.escape(said)):
        read_runs([write("x.json", document)])


def test_a_bench_without_a_profile_is_shown(write: Write) -> None:
    notes = ["lone: INT8 is not faster than fp32"]
    found = read_runs([write("x.json", BENCH | {"profile": None, "speed_notes": notes})])
    assert notes[0] in render_html(found, "t")


def test_the_facts_of_a_bundle_have_a_command_too() -> None:
    _, told = command_section([Run("bundle", "b", {}, "my bundles/b")]).parts
    assert shlex.split(told.command) == ["xopt", "inspect", "my bundles/b", "--json"]
