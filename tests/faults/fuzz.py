"""A reader under a fuzzer that sees which lines of ours an input reaches: atheris, of libFuzzer.

    pip install atheris    # Linux on x86-64; not one of the project's own packages
    python -m tests.faults.fuzz toml --scratch /tmp/fuzz -max_total_time=60

What stands behind is libFuzzer's. An input that ends in another error than the promised ones, takes
10 s or 2.5 GiB stops the run and lies in the scratch folder then.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.faults.workshop import Workshop


def main() -> None:
    """Fuzz one reader; ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("reader")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder that may be filled")
    given, rest = parser.parse_known_args()
    os.environ["XOPT_CACHE"] = str(given.scratch / "cache")
    workshop = Workshop(given.scratch / "sound")
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["xopt", "json", "tomllib", "csv", "zipfile"]):
        found = importlib.import_module("tests.faults.readers")
    workshop.make(["bundle"])
    files = given.scratch / "files"
    shutil.rmtree(files, ignore_errors=True)
    reader = found.readers(files, workshop.root / "bundle" / "b")[given.reader]
    corpus = given.scratch / "corpus" / given.reader
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(reader.seeds):
        assert reader.holds(seed)
        (corpus / f"seed-{number}").write_bytes(seed)
    logging.disable()
    limits = [
        "-timeout=10",
        "-rss_limit_mb=2560",
        f"-artifact_prefix={given.scratch}/{given.reader}-",
    ]
    atheris.Setup([sys.argv[0], *limits, *rest, str(corpus)], lambda data: _read(reader, data))
    atheris.Fuzz()


def _read(reader: Any, data: bytes) -> None:
    """The fuzzer wants no value."""
    reader.holds(data)


if __name__ == "__main__":
    main()
