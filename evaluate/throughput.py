"""Sentences and tokens a second, and the latency of single sentences, on the evaluated texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from xopt.model.session import Session
from xopt.model.usage import Usage
from xopt.packing import pack

__all__ = ["measure_latency", "padding_share", "throughput"]


def throughput(usage: Usage) -> dict[str, Any]:
    """From what a session did: the engine by itself, and tokenization by itself."""
    engine = max(usage.engine_s, 1e-9)
    lengths = np.array(usage.lengths or [0])
    return {
        "sentences_per_s": usage.sentences / engine,
        "tokens_per_s": usage.tokens / engine,
        "tokenization_sentences_per_s": usage.sentences / max(usage.tokenization_s, 1e-9),
        "sentences": usage.sentences,
        "tokens": usage.tokens,
        "median_tokens": float(np.median(lengths)),
        "longest_tokens": int(lengths.max()),
        "length_percentiles": [float(n) for n in np.percentile(lengths, range(101))],
        "padding_share": padding_share(usage.lengths),
    }


def padding_share(lengths: Sequence[int], batch: int = 32) -> float:
    """The share of padding in batches of ``batch`` texts in their given order, 0 to 1.

    It is what an engine that pads whole batches would compute for nothing, and a packed one saves.
    """
    parts = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    slots = sum(len(part) * max(part) for part in parts)
    return 1 - sum(lengths) / slots if slots else 0.0


def measure_latency(session: Session, texts: Sequence[str]) -> dict[str, Any]:
    """p50, p95 and p99 of one sentence at a time, the engine alone, milliseconds."""
    first = session.engine.signature.first_position
    batches = [pack([e], first_position=first) for e in session.tokenizer.encode(list(texts))]
    for batch in batches[:3]:
        session.engine.run(batch)
    samples = []
    for batch in batches:
        start = time.perf_counter()
        session.engine.run(batch)
        samples.append((time.perf_counter() - start) * 1e3)
    p50, p95, p99 = np.percentile(samples, [50, 95, 99]) if samples else (0.0, 0.0, 0.0)
    return {"latency_ms": {"p50": float(p50), "p95": float(p95), "p99": float(p99)}}
