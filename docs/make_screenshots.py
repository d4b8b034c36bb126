"""The pictures in docs/images: a report, and the page of `xopt serve`, in Debian's Chromium.

    python docs/make_screenshots.py bundles/demo

Needs the extra dev and the package chromium. The report shows docs/results; the page has the
model of the bundle answer.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
SIZE = {"width": 960, "height": 880}
TEXTS = ["Where is the library?", "Wo ist die Bibliothek?", "Maktaba iko wapi?", "It rains a lot."]


def main() -> None:
    """Write docs/images/report.webp and docs/images/serve.webp."""
    bundle = Path(sys.argv[1])
    (HERE / "images").mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with tempfile.TemporaryDirectory() as folder:
            shoot_report(browser, Path(folder))
        with served(bundle) as url:
            shoot_page(browser, url)
        browser.close()


def shoot_report(browser: Browser, folder: Path) -> None:
    """A report of the measured Tatoeba run and its benches."""
    results = [
        HERE / "results" / "tatoeba-e5-small-int8.json",
        HERE / "results" / "e5_small_sweep.json",
    ]
    out = folder / "report.html"
    command = [sys.executable, "-m", "xopt", "report", *map(str, results), "-o", str(out)]
    subprocess.run(command, check=True)
    page = browser.new_page(viewport=SIZE, device_scale_factor=1, color_scheme="light")
    page.goto(out.as_uri())
    page.evaluate(
        "[...document.querySelectorAll('h2')].find(h => /Every language/.test(h.textContent))"
        ".scrollIntoView()"
    )
    keep(page, "report")


def shoot_page(browser: Browser, url: str) -> None:
    """The page after four sentences were asked."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=1, color_scheme="light")
    page.goto(url)
    page.wait_for_function("document.getElementById('model').options.length > 0")
    page.fill("#texts", "\n".join(TEXTS))
    for _ in range(2):
        page.get_by_role("button", name="Ask").click()
        page.wait_for_function("document.getElementById('answers').childElementCount > 1")
    keep(page, "serve")


def keep(page: Page, name: str) -> None:
    """What is seen now, as a small file."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.save(HERE / "images" / f"{name}.webp", quality=70, method=6)


@contextlib.contextmanager
def served(bundle: Path) -> Iterator[str]:
    """The address of a server over the bundle."""
    command = [sys.executable, "-m", "xopt", "serve", f"e5={bundle}", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(
                found[0] for line in server.stderr if (found := re.search(r"http://\S+/", line))
            )
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main()
