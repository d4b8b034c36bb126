"""The pages of `xopt serve` in a real browser: Debian's Chromium, headless, with axe-core."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.model.core import load

WIDTHS = (360, 768, 1440)


class Opened:
    """A page, and everything that it or the network said that it should not."""

    def __init__(self, browser: Any, scheme: str, url: str) -> None:
        self.page = browser.new_page(color_scheme=scheme)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on(
            "request", lambda r: None if r.url.startswith(url) else self.said.append(r.url)
        )

    def check(self) -> None:
        """Silent, nothing wider than the window, nothing that axe finds."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        found = axe.run(self.page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []
        assert [line for line in self.said if not line.startswith("data:")] == []


@pytest.fixture(params=["light", "dark"])
def opened(request: Any, browser: Any, server: Any) -> Iterator[Opened]:
    found = Opened(browser, request.param, server.url)
    yield found
    found.page.close()


def ask(page: Any, model: str, texts: list[str], pair: str = "") -> str:
    """Fill the form, and what stands under Answers then."""
    page.select_option("#model", model)
    page.fill("#texts", "\n".join(texts))
    page.fill("#pair", pair)
    page.evaluate("document.getElementById('answers').replaceChildren()")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_function("document.getElementById('answers').childElementCount > 0")
    found: str = page.inner_text("#answers")
    return found


def test_every_head_is_tried_on_the_page(
    opened: Opened, server: Any, bundles: dict[str, Path]
) -> None:
    page = opened.page
    page.goto(server.url + "/")
    page.wait_for_function("document.getElementById('model').options.length > 0")
    texts = ["Habari za asubuhi", "Good morning", "x" * 300]
    found = ask(page, "embed", texts)
    with load(bundles["embed"]) as model:
        rows = model.encode(texts, truncate=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shown = [float(n) for n in re.findall(r"-?\d\.\d{3}(?!\d)", found)]
    np.testing.assert_allclose(shown[-9:], (rows @ rows.T).ravel(), atol=6e-4)
    found = ask(page, "nli", ["Mvua inanyesha."], "Barabara ni kavu.")
    with load(bundles["nli"]) as model:
        [verdict] = model.predict([("Mvua inanyesha.", "Barabara ni kavu.")])
    for label, value in verdict.named().items():
        assert re.search(rf"{label}\s+{value:.3f}", found)
    assert "(" in ask(page, "span", ["Who built the bridge?"], "Asha built the old bridge.")
    assert "word\ttag" in ask(page, "tag", ["Nairobi ni mji wa Kenya"])
    assert "score" in ask(page, "rerank", ["Wo?"], "Am Fluss.")
    opened.check()


def test_a_mistake_is_said_on_the_page(opened: Opened, server: Any) -> None:
    opened.page.goto(server.url + "/")
    opened.page.wait_for_function("document.getElementById('model').options.length > 0")
    found = ask(opened.page, "span", ["Who built the bridge?"])
    assert "context" in found
    opened.said = [line for line in opened.said if "400 (Bad Request)" not in line]
    opened.check()


def test_the_interfaces_are_listed(opened: Opened, server: Any) -> None:
    opened.page.goto(server.url + "/docs")
    opened.page.wait_for_selector("text=POST /v1/embeddings")
    opened.check()
