"""Batches of random tokens to time engines on, the interleaved timing, and profiles of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xopt.engines.base import Engine, Signature
from xopt.engines.profile import Profiled
from xopt.packing import Encoding, PackedBatch, pack
from xopt.progress import Progress, Silent

__all__ = [
    "WORK", "Lengths", "bench_engines", "profile_engine", "time_interleaved", "timing",
    "work_batch",
]  # fmt: skip

# Tokens of each sentence of one batch after another.
Lengths = Sequence[Sequence[int]]


def _mixed(count: int) -> list[int]:
    """Log-normal lengths, median 33 tokens, 6 to 128: half of a padded batch is padding."""
    drawn = np.random.default_rng(0).lognormal(3.5, 0.5, count)
    return [int(n) for n in np.clip(np.round(drawn), 6, 128)]


# Case -> lengths in tokens.
WORK: dict[str, list[int]] = {
    "b1_s32": [32],
    "b8_s64": [64] * 8,
    "b8_s128": [128] * 8,
    "mixed32": _mixed(32),
}


def work_batch(lengths: Sequence[int], *, first_position: int, vocabulary: int) -> PackedBatch:
    """A batch of random token ids with these lengths; always the same."""
    generator = np.random.default_rng(1)
    low, high = min(5, vocabulary - 1), vocabulary
    encodings = [
        Encoding(generator.integers(low, high, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    return pack(encodings, first_position=first_position)


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeat: int,
    warmup: int = 3,
    pause_s: float = 0.0,
) -> dict[str, list[float]]:
    """Milliseconds of each call, the calls taking turns, so that a slow minute hits all of them.

    Args:
        calls: what is timed.
        repeat: timed rounds.
        warmup: rounds before them.
        pause_s: rest before each call, until the threads of the one before have stopped spinning.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warmup + repeat):
        for name, call in calls.items():
            time.sleep(pause_s)
            start = time.perf_counter()
            call()
            if round_ >= warmup:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return samples


def timing(samples: Sequence[float], tokens: int) -> dict[str, Any]:
    """Median, raw samples and tokens a second at the median."""
    median = float(np.median(samples))
    return {
        "median_ms": median,
        "samples_ms": [round(s, 4) for s in samples],
        "tokens_per_s": tokens / median * 1e3,
    }


def bench_engines(
    engines: Mapping[str, Engine],
    work: Mapping[str, Lengths],
    *,
    repeat: int,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """``{case: {engine: timing}}``.

    Args:
        engines: by the names that the answer uses.
        work: case -> its batches; one call answers all of them, the next one handed over in time.
        repeat: timed calls of each.
        progress: told the cases.
    """
    progress = progress or Silent()
    found: dict[str, dict[str, Any]] = {}
    for name, lengths in work.items():
        progress.stage(name)
        tokens = sum(map(sum, lengths))
        calls: dict[str, Callable[[], object]] = {}
        for title, engine in engines.items():
            batches = _batches(lengths, engine.signature)
            calls[title] = lambda e=engine, b=batches: _run(e, b)  # type: ignore[misc]
        timed = time_interleaved(calls, repeat=repeat)
        found[name] = {title: timing(samples, tokens) for title, samples in timed.items()}
    return found


def profile_engine(
    engine: Profiled,
    work: Mapping[str, Lengths],
    *,
    repeat: int,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Where the time goes: ``{case: {"wall_ms", "shares", "layers"}}``.

    ``shares`` holds the share of each kind of operation, waiting included, and sums to 1;
    ``layers`` the share of each kind in each layer. All are means of ``repeat`` runs.
    """
    progress = progress or Silent()
    found: dict[str, dict[str, Any]] = {}
    for name, lengths in work.items():
        progress.stage(f"{name}, profiled")
        taken = engine.profile(_batches(lengths, engine.signature), repeat=repeat)
        found[name] = {
            "wall_ms": taken.wall_s * 1e3,
            "runs": taken.runs,
            "shares": taken.shares(),
            "layers": taken.by_place(),
        }
    return found


def _batches(lengths: Lengths, signature: Signature) -> list[PackedBatch]:
    facts = {"first_position": signature.first_position, "vocabulary": signature.vocabulary}
    return [work_batch(batch, **facts) for batch in lengths]


def _run(engine: Engine, batches: Sequence[PackedBatch]) -> None:
    """Answer them in turn, as many ahead as the engine wants."""
    waiting: list[Callable[[], object]] = []
    for batch in batches:
        waiting.append(engine.submit(batch))
        if len(waiting) > engine.ahead:
            waiting.pop(0)()
    for answer in waiting:
        answer()
