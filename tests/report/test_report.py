import copy
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from xopt.card import retention_rows
from xopt.cli.report import report
from xopt.errors import InputError
from xopt.languages import language_name
from xopt.report.documents import read_runs
from xopt.report.figures import changes, heat_map, plots
from xopt.report.render import render_html, render_markdown

Write = Callable[[str, Mapping[str, Any]], Path]
CLEAN = {"difference": 0.0, "ci95": [0.0, 0.0]}
SPEED = {"sentences_per_s": 1.0, "tokens_per_s": 1.0}
SCORE = {"reference": 1.0, "candidate": 1.0, "difference": 0.0}


class Tables(HTMLParser):
    """Every table of a page: rows of (text, data-value)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[list[tuple[str, str | None]]]] = []
        self.values: list[str | None] = []
        self.text: str | None = None
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "table":
            self.found.append([])
        if tag == "tr":
            self.found[-1].append([])
        if tag in ("td", "th"):
            self.text, self.value = "", named.get("data-value")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.text is not None:
            self.found[-1][-1].append((self.text, self.value))
            self.text = None

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text += data


def read_page(page: str) -> Tables:
    parser = Tables()
    parser.feed(page)
    return parser


def test_the_numbers_of_a_page_are_those_of_its_documents(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    page = read_page(render_html(read_runs([write("a.json", tatoeba)]), "t"))
    rows = {row[0][0]: row for table in page.found for row in table if len(row) == 7}
    for code, found in tatoeba["languages"].items():
        row = rows[f"{language_name(code)} ({code})"]
        values = [float(str(value)) for _, value in row[1:5]]
        assert values == [found[k] for k in ("n", "reference", "candidate", "difference")]
        low, high = (f"{end:+.2f}".replace("-", "−") for end in found["ci95"])
        assert row[5][0].endswith(f"[{low}, {high}]")
        assert float(str(row[6][1])) == 100 * found["agreement"]
    heat = {row[0][0]: row[1] for table in page.found for row in table if len(row) == 2}
    for code, found in tatoeba["languages"].items():
        assert float(str(heat[language_name(code)][1])) == found["difference"]


def test_a_page_needs_no_network_and_every_name_in_it_is_its_own(
    write: Write, tatoeba: dict[str, Any], sweep: dict[str, Any]
) -> None:
    page = render_html(read_runs([write("a.json", tatoeba), write("s.json", sweep)]), "t")
    outside = re.findall(r'(?:src|href)="(?!#|data:,)([^"]*)"', page)
    assert outside == []
    assert "@import" not in page
    assert "url(http" not in page
    ids = read_page(page).ids
    assert len(ids) == len(set(ids))
    for name in re.findall(r'(?:href="|url\()#([^")]+)', page):
        assert name in ids


def test_every_plot_is_well_formed_and_says_in_words_what_it_shows(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    page = render_html(read_runs([write("a.json", tatoeba)]), "t")
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 3
    for text in plots:
        root = ElementTree.fromstring(text)
        title, description = root[0], root[1]
        assert title.tag.endswith("title")
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert description.text
    worst = tatoeba["worst"]
    assert f"{language_name(worst['language'])} {worst['difference']:+.2f}" in plots[1]


def test_names_from_outside_are_text_and_never_markup(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    label = "<script>alert(1)</script>&"
    tatoeba["data"]["label"] = label
    tatoeba["command"] = label
    page = render_html(read_runs([write("a.json", tatoeba)]), label)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;") >= 3


def test_the_frontier_is_what_no_other_point_beats(
    write: Write, tatoeba: dict[str, Any], sweep: dict[str, Any]
) -> None:
    found = plots(read_runs([write("a.json", tatoeba), write("s.json", sweep)]))
    for listed in (plot.points for plot in found.values()):
        for point in listed:
            beaten = any(
                (o.tokens_per_s > point.tokens_per_s and o.score >= point.score)
                or (o.tokens_per_s >= point.tokens_per_s and o.score > point.score)
                for o in listed
            )
            assert point.front is not beaten
    stated = [cell["front"] for cell in sweep["pareto"]["panx"]]
    assert [p.front for p in found["panx, sweep e5-small"].points] == stated


def test_rows_are_grouped_by_script_and_family_and_codes_of_two_tasks_meet(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    other = copy.deepcopy(tatoeba) | {"task": "xnli"}
    other["languages"] = {
        code: tatoeba["languages"][iso] for code, iso in (("sw", "swh"), ("de", "deu"))
    }
    other["worst"] = {"language": "sw", "difference": 0.0}
    grid = heat_map(read_runs([write("a.json", tatoeba), write("b.json", other)]))
    assert grid.columns == ["tatoeba", "xnli"]
    groups = [(script, family) for script, family, _, _ in grid.rows]
    assert groups == sorted(groups)
    [swahili] = [cells for _, _, code, cells in grid.rows if code in ("sw", "swh")]
    assert all(found is not None for found in swahili)


def test_a_change_is_beyond_noise_only_where_it_leaves_both_intervals(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    after = copy.deepcopy(tatoeba)
    after["languages"]["deu"]["candidate"] -= 5.0
    after["languages"]["deu"]["difference"] -= 5.0
    after["data"]["fingerprints"]["tha"] = "another"
    a, b = read_runs([write("a.json", tatoeba), write("b.json", after)])
    found = {c.code: c for c in changes(a, b)}
    low, high = tatoeba["languages"]["deu"]["ci95"]
    assert found["de"].difference == pytest.approx(-5.0)
    assert found["de"].noise == pytest.approx(math.sqrt(2) * (high - low) / 2)
    assert found["de"].verdict == "beyond noise"
    assert found["fr"].verdict == "within noise"
    assert found["th"].verdict == "unknown"


def test_intervals_of_two_methods_are_not_mixed(write: Write, tatoeba: dict[str, Any]) -> None:
    """A document of before 2026-11-29 does not say how its intervals were found."""
    now = copy.deepcopy(tatoeba) | {"intervals": "bootstrap-plus-two"}
    then = {key: value for key, value in now.items() if key != "intervals"}
    runs = read_runs([write("then.json", then), write("now.json", now)])
    assert {change.verdict for change in changes(*runs)} == {"unknown"}
    said = "intervals of an earlier xopt"
    assert f"then: {said}" in render_html(runs, "a page")
    assert said not in render_html(runs[1:], "a page")


def test_markdown_has_the_same_tables(write: Write, tatoeba: dict[str, Any]) -> None:
    text = render_markdown(read_runs([write("a.json", tatoeba)]), "t")
    row = tatoeba["languages"]["swh"]
    assert f"| Swahili (swh) | {row['n']:,} | {row['reference']:.2f} |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| Swahili (swh)")}
    assert widths == {8}


def test_near_duplicates_stand_in_a_row_below_the_mean(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    """In the page, in Markdown and in the card; a part that is no stress test has no row."""
    part = {"reference": 78.125, "candidate": 77.5, "difference": -0.625, "ci95": [-2.0, 0.5]}
    found = tatoeba | {"parts": {"near_duplicates": part, "f1": part}}
    runs = read_runs([write("a.json", found)])
    assert "near-duplicates" in render_html(runs, "t")
    [line] = [x for x in render_markdown(runs, "t").splitlines() if x.startswith("| near-dup")]
    assert all(figure in line for figure in ("78.1", "77.50", "[−2.00, +0.50]"))
    mean, stress = retention_rows(found)[-2:]
    assert mean[0] == "mean"
    assert stress[0] == "near-duplicates"
    assert stress[2:6] == ["78.12", "77.50", "-0.62", "[-2.00, +0.50]"]
    with pytest.raises(InputError, match=r"parts\.near_duplicates"):
        read_runs([write("b.json", tatoeba | {"parts": {"near_duplicates": {}}})])


def test_a_run_of_several_tasks_says_what_was_not_scored(
    write: Write, tatoeba: dict[str, Any]
) -> None:
    document = {
        "tasks": [tatoeba, {"task": "xnli", "skipped": "no bundle fits"}],
        "groups": {},
        "average": None,
    }
    page = render_html(read_runs([write("a.json", document)]), "t")
    assert "xnli was not scored: no bundle fits" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "xopt-eval/99"}, r"has the schema xopt-eval/99; this xopt reads xopt-eval/1"),
        ({"schema": "xopt-bench/1"}, "damaged|schema"),
        ({"throughput": ...}, "lacks throughput"),
        ({"mean": None}, "mean is null, not an object"),
        ({"host": {"cpu": "x", "cores": 2, "tools": "a"}}, "host.tools is 'a', not an object"),
        ({"worst": {"language": "xx"}}, "its worst language was not scored"),
        ({"languages": {}}, "scores no language"),
        (
            {"throughput": SPEED | {"length_percentiles": [1.0] * 100}},
            "length_percentiles has 100 values, not 101",
        ),
        ({"mean": SCORE | {"ci95": [0.0]}}, "mean.ci95 has 1 values, not 2"),
        ({"languages": {"sw": {"n": 1}}}, "lacks languages.sw.reference"),
        (
            {"languages": {"sw": dict.fromkeys(("n", "reference", "candidate"), "1") | CLEAN}},
            "languages.sw.n is '1', not a whole number",
        ),
    ],
)
def test_a_document_that_would_be_shown_wrongly_is_refused_by_name(
    write: Write, tatoeba: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    document = {k: v for k, v in (tatoeba | change).items() if v is not ...}
    with pytest.raises(InputError, match=said) as caught:
        read_runs([write("bad.json", document)])
    assert "bad.json" in caught.value.message


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"a": 1}', "no json"])
def test_what_is_no_document_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        read_runs([tmp_path / "x.json"])


def test_the_command_line(
    write: Write, tatoeba: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write("a.json", tatoeba)
    out = tmp_path / "deep" / "r.html"
    report([source], out=out, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == out.stat().st_size
    assert [run["kind"] for run in told["runs"]] == ["eval"]
    with pytest.raises(InputError, match=r"r\.pdf ends in \.pdf") as caught:
        report([source], out=tmp_path / "r.pdf")
    assert "r.html" in caught.value.hint


def test_a_page_among_the_runs_is_what_o_was_forgotten_of(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for said in ("There is no bundle or file", "is a page"):
        with pytest.raises(InputError, match=said) as caught:
            read_runs([page])
        assert f"-o {page}" in caught.value.hint
        page.write_text("<html></html>")
