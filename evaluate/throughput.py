"""Sentences and tokens a second, and the latency of single sentences, on the evaluated texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from xopt.model.session import Session
from xopt.model.usage import Usage
from xopt.packing import Encoding, pack
from xopt.tokenization import Tokenizer

__all__ = ["measure_in_turn", "measure_latency", "padding_share", "throughput"]

# Of both engines in turn: rounds, the seconds after which no other is begun, and the tokens of one.
ROUNDS, LONGEST_S, MOST_TOKENS = 5, 10.0, 8192


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


def measure_in_turn(
    reference: Session,
    candidate: Session,
    encode: Callable[[Tokenizer], Sequence[Sequence[Encoding]]],
) -> dict[str, Any]:
    """How many times faster the candidate is: both answer the same items, one after the other.

    What else the machine does falls on both sides of a round, where two runs that are minutes
    apart may have had different machines.

    Args:
        reference: the fp32 bundle.
        candidate: the bundle under test.
        encode: what an engine is given for each item, windows or parts included. Of the items so
            many are taken, and at least one, as have :data:`MOST_TOKENS` tokens together.

    Returns:
        ``faster``, the median over the rounds, ``rounds``, and the candidate's ``tokens`` in each.
    """
    both = [(session, encode(session.tokenizer)) for session in (reference, candidate)]
    sizes = accumulate(sum(map(len, item)) for item in both[0][1])
    count = max(1, sum(size <= MOST_TOKENS for size in sizes))
    given = [
        (session, [part for item in items[:count] for part in item]) for session, items in both
    ]
    rounds: list[float] = []
    begin = time.perf_counter()
    while len(rounds) < ROUNDS and time.perf_counter() - begin < LONGEST_S:
        before, after = (_engine_s(session, encodings) for session, encodings in given)
        rounds.append(before / max(after, 1e-9))
    tokens = sum(map(len, given[1][1]))
    return {"faster": float(np.median(rounds)), "rounds": rounds, "tokens": tokens}


def _engine_s(session: Session, encodings: Sequence[Encoding]) -> float:
    """Seconds of the engine for them."""
    before = session.usage.engine_s
    for _ in session.answers(len(encodings), lambda _, start, stop: list(encodings[start:stop])):
        pass
    return session.usage.engine_s - before


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
