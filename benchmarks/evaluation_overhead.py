"""What an XNLI evaluation costs beyond its engine: wall time against time within the engine.

    python benchmarks/evaluation_overhead.py BUNDLE --data DIR --out docs/results

Tokenization runs beside the engine and the rest is bookkeeping; together they may cost a tenth.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.evaluate.data import open_source
from xopt.evaluate.session import Session
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import host_facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--languages", default="", help="all by default")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    task = make_task("xnli", {"split": options.split})
    source = open_source(options.data, probe=("", ""))
    languages = options.languages.split(",") if options.languages else task.available(source)
    examples = {code: task.load(source, code) for code in languages}
    start = time.perf_counter()
    with Session(Bundle.open(options.bundle)) as session:
        opened = time.perf_counter()
        for code in languages:
            answers = task.answer(session, examples[code], lambda share: None)
            task.score(examples[code], answers)
        end = time.perf_counter()
        usage = session.usage
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "bundle": options.bundle.name,
        "languages": languages,
        "pairs": usage.sentences,
        "tokens": usage.tokens,
        "load_s": opened - start,
        "wall_s": end - opened,
        "engine_s": usage.engine_s,
        "tokenization_s": usage.tokenization_s,
        "overhead": (end - opened) / usage.engine_s - 1,
    }
    print(json.dumps(found, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "xtreme_overhead.json"
    place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
