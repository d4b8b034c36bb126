r"""The first answer of a fresh process, side by side with another checkout of xopt.

    python benchmarks/first_answer.py bundles/e5 --before ../xopt-before \
        --before-bundle ../xopt-before/bundles/e5 --out first_answer.json

Both checkouts run with this interpreter and take turns: wall seconds, CPU seconds and peak memory
of a process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from xopt.host import host_facts

HERE = Path(__file__).resolve().parents[1]
TEXT = "Habari za asubuhi"


def once(source: Path, bundle: Path) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, MiB)."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    command = [sys.executable, "-P", "-m", "xopt", "run", str(bundle), TEXT]
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, cwd=source
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{source}: exit {process.returncode}")
    seconds = time.perf_counter() - begin
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print and keep medians and raw samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--before-bundle", type=Path, help="built by --before; default: BUNDLE")
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sources = {"before": options.before.resolve(), "now": HERE}
    bundles = {"before": options.before_bundle or options.bundle, "now": options.bundle}
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sources}
    for number in range(options.repeat + 1):
        for name, source in sources.items():
            found = once(source, bundles[name].resolve())
            # The first round fills the file cache.
            if number:
                samples[name].append(found)
    document: dict[str, Any] = {"date": datetime.date.today().isoformat(), "host": host_facts()}
    for name, taken in samples.items():
        seconds, cpu, memory = zip(*taken, strict=True)
        document[name] = {
            "median_s": statistics.median(seconds),
            "median_cpu_s": statistics.median(cpu),
            "median_mib": statistics.median(memory),
            "seconds": [round(s, 3) for s in seconds],
            "cpu_seconds": [round(s, 3) for s in cpu],
            "mib": [round(m) for m in memory],
        }
    document["ratio"] = document["now"]["median_s"] / document["before"]["median_s"]
    text = json.dumps(document, indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
