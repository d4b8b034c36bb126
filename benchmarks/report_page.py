"""How large the report of nine tasks in forty languages and a sweep is, and how soon it is open.

    python benchmarks/report_page.py > docs/results/report_page.json

The evaluations are made up (seed 16, no figure twice); the sweep is that of docs/results. The page
is opened in Debian's Chromium, headless, a new tab each time: from the call to the end of the load
event and two drawn frames behind it. `tests/report/test_numbers.py` reads the numbers back.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xopt.evaluate.tasks import TASKS
from xopt.host import host_facts
from xopt.languages import NAMES

RESULTS = Path(__file__).parents[1] / "docs" / "results"
REPEAT = 9
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def language_row(draw: random.Random) -> dict[str, Any]:
    """One language of an evaluation; no figure of it is another's."""
    reference, difference = draw.uniform(20, 99), draw.gauss(0, 1.2)
    return {
        "n": draw.randint(100, 9999),
        "reference": reference,
        "candidate": reference + difference,
        "difference": difference,
        "ci95": [difference - draw.uniform(0, 2), difference + draw.uniform(0, 2)],
        "agreement": draw.random(),
    }


def evaluation(task: str, draw: random.Random) -> dict[str, Any]:
    """An evaluation of forty languages, of figures that nobody measured."""
    found = json.loads((RESULTS / "tatoeba-e5-small-int8.json").read_text(encoding="utf-8"))
    found["languages"] = {code: language_row(draw) for code in NAMES}
    found["throughput"]["length_percentiles"] = sorted(draw.uniform(3, 300) for _ in range(101))
    return found | {"task": task, "worst": {"language": "ka"}}


def openings(page_file: Path) -> Iterator[float]:
    """Seconds until the page is loaded and drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(REPEAT):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            begin = time.perf_counter()
            page.goto(page_file.as_uri(), wait_until="load")
            page.evaluate(DRAWN)
            yield time.perf_counter() - begin
            page.close()
        browser.close()


def main() -> None:
    """Print one JSON document."""
    draw = random.Random(16)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        many = {"tasks": [evaluation(t, draw) for t in TASKS], "groups": {}, "average": None}
        (folder / "many.json").write_text(json.dumps(many), encoding="utf-8")
        sources = {"36 cells": [RESULTS / "e5_small_sweep.json"]}
        sources["nine tasks, 40 languages, 36 cells"] = [folder / "many.json", *sources["36 cells"]]
        pages = {}
        for name, files in sources.items():
            out = folder / "report.html"
            command = [sys.executable, "-m", "xopt", "report", *map(str, files), "-o", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = list(openings(out))
            pages[name] = {
                "bytes": out.stat().st_size,
                "median_s": statistics.median(seconds),
                "samples_s": seconds,
            }
        command_line = "python benchmarks/report_page.py"
        json.dump({"command": command_line, "host": host_facts(), "pages": pages}, sys.stdout)
        print()


if __name__ == "__main__":
    main()
