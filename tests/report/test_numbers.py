"""Every number of a page, read back out of it and held beside the JSON.

Nothing of the package reads the page: a parser of HTML here, and regular expressions.
"""

import copy
import random
import re
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import load_script

from xopt.languages import language_name
from xopt.report.documents import read_runs
from xopt.report.render import render_html

Write = Callable[[str, Mapping[str, Any]], Path]
NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?")
MADE = load_script(Path(__file__).parents[2] / "benchmarks" / "report_page.py")
SPEEDS = ("sentences_per_s", "tokens_per_s")


class Page(HTMLParser):
    """Tables as (section, caption, rows of (text, value, hover)); plots as (title, description)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[tuple[str, str, list[list[tuple[str, str | None, str]]]]] = []
        self.plots: list[list[str]] = []
        self.section, self.within = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "section":
            self.section = str(named["id"])
        elif tag == "table":
            self.tables.append((self.section, "", []))
        elif tag == "tr":
            self.tables[-1][2].append([])
        elif tag in ("td", "th"):
            self.tables[-1][2][-1].append(("", named.get("data-value"), named.get("title") or ""))
        elif tag == "svg":
            self.plots.append([])
        if tag in ("td", "th", "caption", "title", "desc"):
            self.within = tag
            if tag in ("title", "desc") and self.plots:
                self.plots[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.within = "" if tag == self.within else self.within

    def handle_data(self, data: str) -> None:
        if self.within in ("td", "th"):
            row = self.tables[-1][2][-1]
            row[-1] = (row[-1][0] + data, *row[-1][1:])
        elif self.within == "caption":
            section, caption, rows = self.tables[-1]
            self.tables[-1] = (section, caption + data, rows)
        elif self.within in ("title", "desc") and self.plots:
            self.plots[-1][-1] += data


def numbers(text: str) -> list[float]:
    return [float(n.replace("−", "-").replace(",", "")) for n in NUMBER.findall(text)]


def shown(cell: tuple[str, str | None, str], value: float, places: int = 2) -> bool:
    """Whether a cell sorts by a value, and shows it to so many places."""
    assert cell[1] is not None
    [text] = numbers(cell[0])
    return float(cell[1]) == pytest.approx(value, rel=1e-12) and near([text], [value], places)


def near(found: list[float], expected: list[float], places: int = 2) -> bool:
    return found == pytest.approx(expected, rel=0, abs=0.5 * 10**-places + 1e-9)


@pytest.fixture
def unlike(many: dict[str, Any]) -> dict[str, Any]:
    """Nine tasks in forty languages; no figure of them is another's."""
    draw = random.Random(16)
    many = copy.deepcopy(many)
    for entry in many["tasks"]:
        for code in entry["languages"]:
            entry["languages"][code] = MADE.language_row(draw)
        worst = min(entry["languages"].items(), key=lambda item: item[1]["difference"])
        entry["worst"] = {"language": worst[0], "difference": worst[1]["difference"]}
        means = {k: draw.uniform(-50, 90) for k in ("reference", "candidate", "difference")}
        entry["mean"] = means | {"ci95": [draw.uniform(-9, 0), draw.uniform(0, 9)]}
        if draw.random() < 0.5:
            entry["in_turn"] = {"faster": draw.uniform(0.1, 9), "rounds": [1.0], "tokens": 9}
        else:
            entry.pop("in_turn", None)
        for side in ("throughput", "reference_throughput"):
            entry[side] = {key: draw.uniform(50, 90000) for key in SPEEDS} | {
                "latency_ms": {"p50": draw.uniform(1, 50), "p99": draw.uniform(1, 50)},
                "length_percentiles": sorted(draw.uniform(3, 300) for _ in range(101)),
            }
    return many


def test_nine_tasks_in_forty_languages_are_read_back(
    write: Write, unlike: dict[str, Any], sweep: dict[str, Any]
) -> None:
    text = render_html(read_runs([write("many.json", unlike), write("s.json", sweep)]), "t")
    assert len(text.encode()) < 3 * 2**20
    page = Page(text)
    documents = {entry["task"]: entry for entry in unlike["tasks"]}
    compared = {"summary": 0, "heat": 0, "languages": 0, "speed": 0}
    for section, caption, rows in page.tables:
        if section in READERS:
            compared[section] += sum(READERS[section](rows, caption, documents))
    assert compared == {
        "summary": 9 * 8, "heat": 9 * 40 * 4, "languages": 9 * (40 * 8 + 5), "speed": 18 * 4,
    }  # fmt: skip
    described = dict(plot for plot in page.plots if plot[0].startswith("What each language lost"))
    assert len(described) == 9
    for title, words in described.items():
        languages = documents[title.partition(": ")[2]]["languages"]
        expected = sorted(languages.items(), key=lambda item: item[1]["difference"])
        for said, (code, found) in zip(words.split("; "), expected, strict=True):
            assert said.startswith(language_name(code))
            assert near(numbers(said), [found["difference"], *found["ci95"]])


def _summary(rows: list[Any], _: str, documents: Mapping[str, Any]) -> Iterator[int]:
    for row in rows[1:]:
        found = documents[row[0][0]]
        languages = found["languages"]
        assert shown(row[1], 40, 0)
        assert shown(row[2], sum(one["n"] for one in languages.values()), 0)
        for cell, key in zip(row[3:6], ("reference", "candidate", "difference"), strict=True):
            assert shown(cell, found["mean"][key])
        worst = languages[found["worst"]["language"]]
        assert row[6][0].startswith(language_name(found["worst"]["language"]))
        assert near(numbers(row[6][0]), [worst["difference"], *worst["ci95"]])
        speeds = [found[s]["tokens_per_s"] for s in ("throughput", "reference_throughput")]
        apart = speeds[0] / speeds[1]
        assert shown(row[7], found["in_turn"]["faster"] if "in_turn" in found else apart)
        yield 8


def _heat(rows: list[Any], _: str, documents: Mapping[str, Any]) -> Iterator[int]:
    columns = [name for name, _, _ in rows[0][1:]]
    for row in rows[1:]:
        for column, cell in zip(columns, row[1:], strict=False):
            languages = documents[column]["languages"]
            [found] = [f for code, f in languages.items() if language_name(code) == row[0][0]]
            assert shown(cell, found["difference"])
            assert near(numbers(cell[2])[1:], [*found["ci95"], found["n"]])
            low, high = found["ci95"]
            assert ("▲" in cell[0], "▼" in cell[0]) == (low > 0, high < 0)
            yield 4


def _languages(rows: list[Any], caption: str, documents: Mapping[str, Any]) -> Iterator[int]:
    document = documents[caption.partition(":")[0]]
    for row in rows[1:]:
        mean = row[0][0] == "mean"
        code = re.sub(r".*\((.*)\)", r"\1", row[0][0])
        found = document["mean"] if mean else document["languages"][code]
        for cell, key in zip(row[2:5], ("reference", "candidate", "difference"), strict=True):
            assert shown(cell, found[key])
        interval = numbers(row[5][0])
        assert near(interval, found["ci95"] if mean else [found["difference"], *found["ci95"]])
        if not mean:
            assert shown(row[1], found["n"], 0)
            assert shown(row[6], 100 * found["agreement"], 1)
        yield 5 if mean else 8


def _speed(rows: list[Any], _: str, documents: Mapping[str, Any]) -> Iterator[int]:
    for row in rows[1:]:
        task, _, side = row[0][0].partition(", ")
        found = documents[task]["throughput" if side == "bundle" else "reference_throughput"]
        for cell, key in zip(row[1:3], SPEEDS, strict=True):
            assert shown(cell, found[key], 0)
        for cell, key in zip(row[3:], ("p50", "p99"), strict=True):
            assert shown(cell, found["latency_ms"][key])
        yield 4


READERS = {"summary": _summary, "heat": _heat, "languages": _languages, "speed": _speed}


def test_a_sweep_of_36_cells_is_read_back(write: Write, sweep: dict[str, Any]) -> None:
    page = Page(render_html(read_runs([write("sweep.json", sweep)]), "t"))
    compared = 0
    for (section, _, (head, *rows)), table in zip(page.tables, sweep["tables"], strict=True):
        assert section == "sweep"
        for row, expected in zip(rows, table["rows"], strict=True):
            assert row[0][0] == expected["intermediate"]
            for (column, _, _), cell in zip(head[1:], row[1:], strict=True):
                score = expected["average"] if column == "average" else expected["targets"][column]
                assert float(str(cell[1])) == score["mean"]
                half = (score["ci95"][1] - score["ci95"][0]) / 2
                assert near(numbers(cell[0]), [score["mean"], half])
                if "worst" in score:
                    assert language_name(score["worst"]["language"]) in cell[2]
                    assert near(numbers(cell[2]), [score["worst"]["value"]])
                compared += 2
    assert compared == 2 * 2 * 3 * 4
    titles = {title.partition(": ")[2]: words for title, words in page.plots}
    for target, points in sweep["pareto"].items():
        said = titles[f"{target}, sweep e5-small"].split("; ")
        for words, point in zip(said, points, strict=True):
            speed, score = re.findall(r"[\d,.]+(?= tokens/s)|(?<=tokens/s, )[\d.]+", words)
            assert near(numbers(speed), [point["tokens_per_s"]], 0)
            assert near(numbers(score), [point["score"]])
            assert ("on the frontier" in words) is point["front"]
