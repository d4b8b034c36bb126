"""Whether a version in use was taken back from the package index: ``make yanked``.

An owner yanks a version that is broken or has a hole; pip goes on to install it where it is pinned.
So pip is asked, in a run that installs nothing, for every version of this environment. It asks the
index alone, since files at hand bear no such mark.

Exit code: 0 none was yanked, 1 some were, 2 it could not be told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

Report = Mapping[str, Any]
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Places of files without a mark, from which pip would take a version first.
AT_HAND = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT")
PIP = [sys.executable, "-m", "pip"]


def installed() -> list[str]:
    """``name==version`` of everything in this environment but the project itself."""
    own = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["name"]
    return sorted(
        {f"{d.name}=={Version(d.version).public}" for d in distributions() if d.name != own}
    )


def ask(pins: Sequence[str]) -> tuple[Report | None, str]:
    """What pip's report of an installation says; None where it failed, and what pip printed."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(pins) + "\n", encoding="utf-8")
        words = ["install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet"]
        words += ["--report", str(report), "--requirement", str(wanted)]
        done = subprocess.run(
            [*PIP, *words], env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            return None, done.stderr
        return json.loads(report.read_text(encoding="utf-8")), done.stderr


def _environment() -> dict[str, str]:
    """Of a pip that asks the one index that is set up here."""
    env = {name: value for name, value in os.environ.items() if name not in AT_HAND}
    named = subprocess.run(
        [*PIP, "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    if named.returncode == 0:
        env.setdefault("PIP_INDEX_URL", named.stdout.strip())
    return env | {"PIP_CONFIG_FILE": os.devnull}


def judge(report: Report, pins: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of ``pins`` were yanked, and which the index was not asked for."""
    items = {canonicalize_name(item["metadata"]["name"]): item for item in report["install"]}
    yanked, unknown = [], []
    for pin in pins:
        item = items.get(canonicalize_name(pin.partition("==")[0]))
        if item is None or "is_yanked" not in item:
            unknown.append(pin)
        elif item["is_yanked"]:
            yanked.append(pin)
    return yanked, unknown


def main() -> int:
    """Ask for each version in use."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pins", type=Path, help="lines name==version; else what is installed")
    given = parser.parse_args()
    pins = given.pins.read_text(encoding="utf-8").split() if given.pins else installed()
    report, said = ask(pins)
    if report is None:
        reason = (said.strip().splitlines() or ["pip failed"])[-1]
        print(f"The package index could not be asked whether a version was yanked: {reason}")
        return 2
    yanked, unknown = judge(report, pins)
    for line in [*yanked, *(line for line in said.splitlines() if line.startswith("Reason"))]:
        print(line)
    print(f"{len(pins)} versions, {len(yanked)} of them yanked"
          + (f"; not told for {', '.join(unknown)}" if unknown else ""))  # fmt: skip
    return 1 if yanked else 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
