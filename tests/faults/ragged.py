"""Random ragged batches: each answer equal, whether its text is asked alone or with others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.tiny import save_checkpoint, save_tokenizer

__all__ = ["BOUNDS", "Ragged", "run_ragged"]

# Largest difference that is allowed, of values of size 1.
BOUNDS = {"fp32": 1e-5, "fp16": 1e-3, "int8": 1e-3}
LONGEST = 120


@dataclass
class Ragged:
    """What came of the batches on one engine at one precision."""

    bound: float
    batches: int = 0
    answers: int = 0
    above: int = 0
    largest: float = 0.0


def run_ragged(
    scratch: Path, count: int, seed: int, until: float = float("inf")
) -> dict[str, Ragged]:
    """``count`` batches, in turn on every engine that runs here, head and precision.

    A batch has 2 to 33 texts of 1 to 120 random tokens, short ones more often than long ones; three
    of them are asked alone.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, Ragged] = {}
    with ExitStack() as stack:
        engines = {name: stack.enter_context(engine) for name, engine in _engines(scratch)}
        for number in range(count):
            if time.monotonic() > until:
                break
            name = list(engines)[number % len(engines)]
            tally = found.setdefault(name, Ragged(BOUNDS[name.split(", ")[2]]))
            _compare(engines[name], generator, tally)
    return found


def _engines(scratch: Path) -> Iterator[tuple[str, Any]]:
    """(name, open engine): the CPU's with its own attention and with OpenVINO's, every head."""
    from xopt.compile.build import build_bundle
    from xopt.compile.options import BuildOptions
    from xopt.engines.base import open_engine

    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer = scratch / "tokenizer.json"
    save_tokenizer(tokenizer)
    for head in ("embed", "tag"):
        folder = scratch / head
        if not folder.is_dir():
            save_checkpoint(folder, tokenizer, "xlm-roberta", head)
        for precision in BOUNDS:
            out = str(scratch / f"{head}-{precision}")
            options = BuildOptions(
                checkpoint=str(folder), precision=precision, calibration_tokens=2048, out=out
            )
            bundle = build_bundle(options).bundle
            for own in (True, False):
                engine = open_engine(bundle, threads=2, own_attention=own)
                kind = "own attention" if own else "OpenVINO's attention"
                yield f"openvino with {kind}, {head}, {precision}", engine


def _compare(engine: Any, generator: np.random.Generator, tally: Ragged) -> None:
    from xopt.packing import Encoding, pack

    size = int(generator.integers(2, 34))
    lengths = np.minimum(1 + generator.geometric(1 / 24, size), LONGEST)
    encodings = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    signature = engine.signature
    first = signature.first_position
    batch = pack(encodings, first_position=first)
    together = engine.run(batch)[signature.output]
    tally.batches += 1
    for one in generator.choice(size, min(3, size), replace=False):
        alone = engine.run(pack([encodings[one]], first_position=first))[signature.output]
        rows = slice(one, one + 1)
        if signature.per_token:
            rows = slice(int(batch.cu_seqlens[one]), int(batch.cu_seqlens[one + 1]))
        difference = float(np.abs(alone - together[rows]).max())
        tally.answers += 1
        tally.largest = max(tally.largest, difference)
        tally.above += not difference <= tally.bound
