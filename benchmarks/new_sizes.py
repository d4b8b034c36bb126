"""What a batch of a size that was never seen costs beside the same batch repeated.

    python benchmarks/new_sizes.py bundles/e5 --batches 300 --out new_sizes.json

Batches as a server joins them, 1 to 12 sentences of 2 to 48 tokens, no two with the same number of
tokens and of sentences. Each is timed at its first call, then at ``--repeat`` more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, open_engine
from xopt.host import host_facts
from xopt.packing import Encoding, PackedBatch, pack

# A server has answered something before; of one size that is not among the batches.
WARM_UP = [60] * 4


def batch(lengths: list[int], generator: np.random.Generator, first_position: int) -> PackedBatch:
    """Random ids in sentences of these lengths."""
    items = [
        Encoding(generator.integers(5, 1000, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    return pack(items, first_position=first_position)


def milliseconds(engine: Engine, asked: PackedBatch) -> float:
    """Of one call."""
    begin = time.perf_counter()
    engine.run(asked)
    return (time.perf_counter() - begin) * 1e3


def measure(engine: Engine, batches: int, repeat: int) -> dict[str, Any]:
    """First calls beside the medians of those behind them; ``ratio`` is of their sums."""
    generator = np.random.default_rng(0)
    position = engine.signature.first_position
    for _ in range(20):
        engine.run(batch(WARM_UP, generator, position))
    seen: set[tuple[int, int]] = set()
    first, again = [], []
    while len(first) < batches:
        lengths = generator.integers(2, 49, int(generator.integers(1, 13))).tolist()
        size = sum(lengths), len(lengths)
        if size in seen:
            continue
        seen.add(size)
        asked = batch(lengths, generator, position)
        first.append(milliseconds(engine, asked))
        again.append(statistics.median(milliseconds(engine, asked) for _ in range(repeat)))
    return {
        "batches": batches,
        "tokens": sum(tokens for tokens, _ in seen),
        "first_ms": [round(ms, 3) for ms in first],
        "again_ms": [round(ms, 3) for ms in again],
        "ratio": round(sum(first) / sum(again), 4),
    }


def main() -> None:
    """Print and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle.resolve())
    chosen = {} if options.threads is None else {"threads": options.threads}
    with open_engine(bundle, **chosen) as engine:
        found = measure(engine, options.batches, options.repeat)
    document = {"date": datetime.date.today().isoformat(), "host": host_facts()}
    document |= {"shape": bundle.manifest["shape"], "precision": bundle.manifest["precision"]}
    document |= found
    text = json.dumps(document) + "\n"
    if options.out:
        options.out.write_text(text)
    print(f"{found['batches']} sizes: first calls take {found['ratio']:.3f} x those behind them")


if __name__ == "__main__":
    main()
