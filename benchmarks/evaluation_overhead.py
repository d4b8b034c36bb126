"""What an XNLI evaluation costs beyond its engine: its wall time against the engine's alone.

    python benchmarks/evaluation_overhead.py BUNDLE --data DIR --out docs/results

Tokenization runs beside the engine and the rest is bookkeeping; together they may cost a tenth. The
engine alone answers the same batches right afterwards, from encodings that the evaluation made.
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
from xopt.evaluate.session import Session, Usage
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import host_facts


class Replay(Session):
    """A session that keeps every encoding, and gives them again instead of tokenizing."""

    kept: list[list[Any]]
    recording = True

    def _encode(self, encode: Any, start: int, stop: int) -> list[Any]:
        if not self.recording:
            return self.kept.pop(0)
        encoded = super()._encode(encode, start, stop)
        self.kept.append(encoded)
        return encoded


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
    with Replay(Bundle.open(options.bundle)) as session:
        session.kept = []
        opened = time.perf_counter()
        for code in languages:
            answers = task.answer(session, examples[code], lambda share: None)
            task.score(examples[code], answers)
        end = time.perf_counter()
        usage = session.usage
        session.usage, session.recording = Usage(), False
        for code in languages:
            task.answer(session, examples[code], lambda share: None)
        alone_s = session.usage.engine_s
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
        "engine_alone_s": alone_s,
        "overhead": (end - opened) / alone_s - 1,
    }
    print(json.dumps(found, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "xtreme_overhead.json"
    place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
