"""The page in a real browser: Debian's Chromium, headless, with axe-core."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xopt.report.documents import read_runs
from xopt.report.render import render_html

Write = Callable[[str, Mapping[str, Any]], Path]


@pytest.fixture
def page_file(
    write: Write,
    tmp_path: Path,
    tatoeba: dict[str, Any],
    sweep: dict[str, Any],
    many: dict[str, Any],
) -> Path:
    """Nine tasks in forty languages, a sweep, and two runs that are compared."""
    again = copy.deepcopy(tatoeba)
    again["languages"]["deu"]["candidate"] -= 5.0
    files = [
        write("many.json", many),
        write("sweep.json", sweep),
        write("again.json", again),
    ]
    out = tmp_path / "report.html"
    out.write_text(render_html(read_runs(files), "A report"), encoding="utf-8")
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_message_no_overflow_and_nothing_that_axe_finds(
    browser: Any, page_file: Path, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    page = browser.new_page(color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: said.append(r.url) if r.url.startswith("http") else None)
    page.goto(page_file.as_uri())
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []
    assert said == []
    page.close()


def test_a_table_is_sorted_by_keyboard_and_its_mean_stays_last(
    browser: Any, page_file: Path, tatoeba: dict[str, Any]
) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    table = page.locator("table", has=page.locator("caption", has_text="again: accuracy"))
    head = table.get_by_role("button", name="fp32")
    values = "t => [...t.tBodies[0].rows].slice(0, -1).map(r => Number(r.cells[2].dataset.value))"
    expected = sorted(found["reference"] for found in tatoeba["languages"].values())
    for direction, order in (("ascending", expected), ("descending", expected[::-1])):
        head.focus()
        page.keyboard.press("Enter")
        assert table.locator("th[aria-sort=" + direction + "]").count() == 1
        assert table.evaluate(values) == order
        assert table.evaluate("t => t.tBodies[0].rows[t.tBodies[0].rows.length - 1].className") == (
            "mean"
        )
    page.close()


def test_the_button_turns_the_page_dark_and_its_plots_with_it(
    browser: Any, page_file: Path
) -> None:
    page = browser.new_page(color_scheme="light")
    page.goto(page_file.as_uri())
    ink = "getComputedStyle(document.querySelector('svg text')).fill"
    light = page.evaluate(ink)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ink) != light
    page.close()


def test_on_paper_no_table_is_wider_than_the_page(browser: Any, page_file: Path) -> None:
    # A4 at 96 dots an inch, without Chromium's margins of 1 cm.
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    right = "[...document.querySelectorAll('table')].map(t => t.getBoundingClientRect().right)"
    assert max(page.evaluate(right)) <= 718
    page.close()
