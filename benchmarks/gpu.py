"""Whole encoders on a GPU side by side: the cuda engine, transformers, torch.compile.

    python benchmarks/gpu.py --json out.json --markdown out.md

A time is that of a call as an application makes it, on the wall clock: from one array of token ids
per sentence on the host, through packing or padding, to the logits on the host. Every answer is
checked before it is timed: an fp16 answer may err twice as much as transformers in fp16 does, both
against transformers in fp32; an INT8 answer must be that of the same encoder on the plain integer
references, up to half of what quantization itself moved it. What fails, or cannot be done, is
reported with the reason and without a time. Peers take turns.

The weights are random, and so is the text; lengths are drawn as in ``attention.py``. Compiling for
``torch.compile`` takes minutes for every shape, so only the shapes in ``--compiled`` get it.

The results so far are written after every case. Exits with 2, saying that the results are not
measured, where there is no GPU. ``--check`` only checks the answers, with ``TRITON_INTERPRET=1``
and ``--models tiny`` also on a CPU, and exits with 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu_peers import (
    PEERS,
    VOCABULARY,
    Call,
    Models,
    NotApplicable,
    Work,
    call_padded,
    plain_answer,
)
from shapes import SHAPES

MODELS = ("xlm-r-base", "xlm-r-large")
BATCHES = (1, 8, 32, 128)
COMPILED = ("xnli:1", "xnli:32")
# Of the answer's own size, above any bound.
EPS = 1e-3
WARMUP = 4
# A case takes no longer than this once every peer has this many samples.
CASE_S, FEWEST = 10.0, 5


@dataclass
class Row:
    """One peer's answer to one batch; ``error`` is its largest against transformers in fp32."""

    case: str
    model: str
    batch: int
    tokens: int
    longest: int
    padding: float
    peer: str
    error: float | None = None
    not_measured: str = ""
    median_ms: float | None = None
    sentences_per_s: float | None = None
    tera_ops_per_s: float | None = None
    samples_ms: tuple[float, ...] = ()


def draw(case: str, model: str, size: int) -> Work:
    """A batch of ``size`` sentences, always the same."""
    import torch
    from attention import CASES

    lengths = CASES[case](size, torch.Generator().manual_seed(42)).tolist()
    generator = np.random.default_rng(1)
    return Work(
        case, model, [generator.integers(5, VOCABULARY, n).astype(np.int32) for n in lengths]
    )


def check(models: Models, work: Work, peers: Sequence[str], compiled: bool) -> dict[str, Any]:
    """``peer -> (row, call)``; what failed has a reason in its row."""
    size = len(work.ids)
    exact = call_padded(models.full, models.device)(work.ids)
    half = call_padded(models.half, models.device)(work.ids)
    scale = float(np.abs(exact).max())
    allowed = 2 * float(np.abs(half - exact).max()) + EPS * scale
    found: dict[str, Any] = {}
    for name in peers:
        padding = 1 - work.tokens / (size * work.longest)
        row = Row(work.case, work.model, size, work.tokens, work.longest, padding, name)
        call: Call | None = None
        try:
            if name.startswith("torch.compile") and not compiled:
                raise NotApplicable("not asked for here; every shape takes minutes to compile")
            call = PEERS[name](models)
            answer = call(work.ids)
            row.error = error = float(np.abs(answer - exact).max())
            bound = allowed
            if "int8" in name:
                plain = plain_answer(models.engine(name.split()[1]), work.ids)
                error = float(np.abs(answer - plain).max())
                bound = 0.5 * float(np.abs(plain - exact).max()) + EPS * scale
            # Not `>`: an error of NaN must not pass.
            if answer.shape != exact.shape or not error <= bound:
                row.not_measured = f"error {error:.2e} > {bound:.2e}"
        except NotApplicable as reason:
            row.not_measured = str(reason)
        except Exception as error:
            row.not_measured = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        found[name] = (row, None if row.not_measured else call)
    return found


def measure(models: Models, work: Work, peers: Sequence[str], repeats: int, compiled: bool) -> Any:
    """Check every peer, then time those that passed."""
    found = check(models, work, peers, compiled)
    samples: dict[str, list[float]] = {name: [] for name, (_, call) in found.items() if call}
    for name in samples:
        # The engine captures a shape when it comes a second time.
        for _ in range(WARMUP):
            found[name][1](work.ids)
    begin = time.perf_counter()
    for number in range(repeats):
        for name, times in samples.items():
            start = time.perf_counter()
            found[name][1](work.ids)
            times.append((time.perf_counter() - start) * 1e3)
        if number + 1 >= FEWEST and time.perf_counter() - begin > CASE_S:
            break
    for name, times in samples.items():
        row = found[name][0]
        row.samples_ms = tuple(round(t, 4) for t in times)
        row.median_ms = statistics.median(times)
        row.sentences_per_s = len(work.ids) / row.median_ms * 1e3
        row.tera_ops_per_s = work.operations / row.median_ms / 1e9
    return [row for row, _ in found.values()]


def render_markdown(result: dict[str, Any]) -> str:
    """The table of medians, and why a cell is empty."""
    rows = result["rows"]
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    cells: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (row["model"], row["case"], row["batch"], row["tokens"], f"{row['padding']:.0%}")
        cells.setdefault(key, {})[row["peer"]] = row
    ceilings = ", ".join(f"{name} {value:.0f}" for name, value in result["ceilings"].items())
    lines = [
        "# Encoders on a GPU",
        "",
        f"{result['device']}, torch {result['torch']}, triton {result['triton']}, transformers"
        f" {result['transformers']}. Measured ceilings: {ceilings}.",
        "Median ms from token ids to logits, both on the host (share of the measured ceiling of"
        " matrix operations, counting existing tokens only).",
        "",
        f"| model | case | batch | tokens | padding | {' | '.join(peers)} |",
        "|" + "---|" * (5 + len(peers)),
    ]
    for key, by_peer in cells.items():
        values = [_cell(by_peer.get(peer), result["ceilings"]) for peer in peers]
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(values)} |")
    reasons = {(row["peer"], row["not_measured"]) for row in rows if row["not_measured"]}
    lines += ["", *(f"- {peer}: {reason}." for peer, reason in sorted(reasons))]
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any] | None, ceilings: dict[str, float]) -> str:
    if row is None or row["median_ms"] is None:
        return "-"
    kind = "int8" if "int8" in row["peer"] else "fp16"
    share = row["tera_ops_per_s"] / ceilings[f"{kind}_tera_ops_per_s"]
    return f"{row['median_ms']:.3f} ({share:.0%})"


def main() -> int:
    options = _options()
    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: the results of this benchmark are not measured.")
        return 2
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not (options.check and os.environ.get("TRITON_INTERPRET") == "1"):
        print("There is no GPU here: the results of this benchmark are not measured.")
        return 2
    device = "cuda" if on_gpu else "cpu"
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        if options.check:
            return _check_all(options, device, Path(scratch))
        _measure_all(options, device, Path(scratch))
    return 0


def _check_all(options: argparse.Namespace, device: str, scratch: Path) -> int:
    wrong = 0
    for model in options.models:
        models = Models(model, device, scratch)
        for size in options.batches:
            for case in options.cases:
                found = check(models, draw(case, model, size), options.peers, compiled=False)
                for row, _ in found.values():
                    asked = not row.peer.startswith("torch.compile")
                    wrong += bool(row.not_measured) and asked
                    error = "-" if row.error is None else f"{row.error:.2e}"
                    print(model, case, size, row.peer, error, row.not_measured or "right")
        models.close()
    return min(wrong, 1)


def _measure_all(options: argparse.Namespace, device: str, scratch: Path) -> None:
    import torch
    import transformers
    import triton
    from attention import measure_ceilings

    begin = time.perf_counter()
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "repeats": options.repeats,
        "ceilings": measure_ceilings(options.repeats),
        "engines": {},
        "rows": [],
    }
    for model in options.models:
        models = Models(model, device, scratch)
        for size in options.batches:
            for case in options.cases:
                if options.budget_s and time.perf_counter() - begin > options.budget_s:
                    print(f"no time left for {model} {case} batch {size}", file=sys.stderr)
                    continue
                print(f"{model} {case} batch {size}", file=sys.stderr, flush=True)
                compiled = f"{case}:{size}" in options.compiled
                work = draw(case, model, size)
                rows = measure(models, work, options.peers, options.repeats, compiled)
                result["rows"] += [asdict(row) for row in rows]
                for name, engine in models.engines.items():
                    result["engines"][f"{model} {name}"] = engine.describe()
                _write(result, options)
        models.close()
    if not options.markdown:
        print(render_markdown(result))


def _write(result: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(render_markdown(result))


def _options() -> argparse.Namespace:
    cases = ("xnli", "qa", "retrieval", "half-padded", "uniform-128", "uniform-512")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--compiled", nargs="*", default=list(COMPILED), help="case:batch")
    parser.add_argument("--repeats", type=int, default=20, help="samples per peer and case")
    parser.add_argument("--budget-s", type=float, default=0, help="start no case after this")
    parser.add_argument("--check", action="store_true", help="check the answers, time nothing")
    parser.add_argument("--scratch", type=Path, help="for a few GB; the system's place by default")
    parser.add_argument("--json", type=Path, help="where the raw samples go")
    parser.add_argument("--markdown", type=Path, help="where the table goes; else it is printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
