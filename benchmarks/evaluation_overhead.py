"""What an XNLI evaluation costs beyond its engine: its wall time against the engine's alone.

    python benchmarks/evaluation_overhead.py BUNDLE --data DIR --out docs/results

Tokenization runs beside the engine and the rest is bookkeeping; together they may cost a tenth.
After each language the engine alone answers the batches that the evaluation made of it, in two
ways: one call after another, as `xopt bench` times it, and with the next batch handed over before
the answer is taken, as the evaluation does. Batches are made beforehand and not timed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.evaluate.data import open_source
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import host_facts
from xopt.model.session import Session
from xopt.packing import PackedBatch


class Recorder:
    """The engine that it stands for, and every batch that it was given."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.batches: list[PackedBatch] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def submit(self, batch: PackedBatch, **options: Any) -> Any:
        self.batches.append(batch)
        return self.engine.submit(batch, **options)

    def one_after_another(self) -> float:
        """Seconds for all recorded batches."""
        begin = time.perf_counter()
        for batch in self.batches:
            self.engine.run(batch)
        return time.perf_counter() - begin

    def one_ahead(self) -> float:
        """Seconds for the same batches, as a session runs them."""
        begin = time.perf_counter()
        waiting: deque[Any] = deque()
        for batch in self.batches:
            waiting.append(self.engine.submit(batch))
            if len(waiting) > self.engine.ahead:
                waiting.popleft()()
        while waiting:
            waiting.popleft()()
        return time.perf_counter() - begin


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
    samples: dict[str, dict[str, float]] = {}
    with Session.open(Bundle.open(options.bundle)) as session:
        load_s = time.perf_counter() - start
        recorder = Recorder(session.engine)
        session.engine = cast(Engine, recorder)
        for code in languages:
            recorder.batches = []
            begin = time.perf_counter()
            answers = task.answer(session, examples[code], lambda share: None)
            task.score(examples[code], answers)
            wall_s = time.perf_counter() - begin
            samples[code] = {
                "evaluation_s": wall_s,
                "engine_one_after_another_s": recorder.one_after_another(),
                "engine_one_ahead_s": recorder.one_ahead(),
            }
            print(code, json.dumps(samples[code]), flush=True)
        usage = session.usage
    total = {name: sum(s[name] for s in samples.values()) for name in samples[languages[0]]}
    evaluation_s = total["evaluation_s"]
    found: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "bundle": options.bundle.name,
        "languages": languages,
        "pairs": usage.sentences,
        "tokens": usage.tokens,
        "load_s": load_s,
        **total,
        "tokenization_s": usage.tokenization_s,
        "over_one_after_another": evaluation_s / total["engine_one_after_another_s"] - 1,
        "over_one_ahead": evaluation_s / total["engine_one_ahead_s"] - 1,
        "samples": samples,
    }
    print(json.dumps(found, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "xtreme_overhead.json"
    place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
