"""Variable-length attention side by side: our kernels, PyTorch's, FlashAttention's.

    python benchmarks/attention.py --json out.json --markdown out.md

Every peer answers every case in the same run, on the same tokens. An answer is checked before it is
timed: floating point by PyTorch's error in the same dtype, INT8 by its integer reference. A
peer that fails the check, or that cannot do the case, is reported with the reason and without a
time. Times are of the GPU alone (CUDA events), with the L2 cache overwritten before each sample,
and peers take turns, so that a drifting clock meets all of them.

Padded peers are given inputs that are padded already: what padding costs the rest of a model is not
in their times. The lengths are drawn from distributions shaped like those of the tasks they are
named after, with a fixed seed; they are not the tasks' data.

Exits with 2, saying that the results are not measured, where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from attention_peers import PEERS, Batch, NotApplicable, Run, prepare_tile

from xopt.errors import XoptError

Lengths = Callable[[int, torch.Generator], torch.Tensor]
MODELS = {"xlm-r-base": (12, 64), "xlm-r-large": (16, 64)}
BATCHES = (1, 8, 32, 128)
L2_BYTES = 256 * 1024 * 1024


def _lognormal(median: float, spread: float, low: int, high: int) -> Lengths:
    def draw(batch: int, generator: torch.Generator) -> torch.Tensor:
        lengths = median * torch.exp(spread * torch.randn(batch, generator=generator))
        return lengths.round().clamp(low, high).int()

    return draw


def _uniform(low: int, high: int) -> Lengths:
    def draw(batch: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(low, high + 1, (batch,), generator=generator).int()

    return draw


def _retrieval(batch: int, generator: torch.Generator) -> torch.Tensor:
    """Half short queries, half passages."""
    queries = _lognormal(12, 0.4, 4, 64)(batch - batch // 2, generator)
    return torch.cat([queries, _lognormal(150, 0.5, 16, 512)(batch // 2, generator)])


def _half_padded(batch: int, generator: torch.Generator) -> torch.Tensor:
    """Lengths from 1 to 512, of which one is 512: about half of a padded batch is padding."""
    lengths = _uniform(1, 512)(batch, generator)
    lengths[0] = 512
    return lengths


CASES: dict[str, Lengths] = {
    "xnli": _lognormal(38, 0.45, 8, 128),
    "qa": _lognormal(250, 0.45, 64, 512),
    "retrieval": _retrieval,
    "half-padded": _half_padded,
    "uniform-128": _uniform(128, 128),
    "uniform-512": _uniform(512, 512),
}


@dataclass
class Row:
    """One peer's answer to one case."""

    case: str
    model: str
    batch: int
    tokens: int
    longest: int
    padding: float
    peer: str
    not_measured: str = ""
    median_ms: float | None = None
    tera_ops_per_s: float | None = None
    gigabytes_per_s: float | None = None
    samples_ms: tuple[float, ...] = ()


def time_in_turns(runs: dict[str, Run], repeats: int) -> dict[str, list[float]]:
    """``repeats`` samples in ms of each, one after the other in every round."""
    l2 = torch.empty(L2_BYTES, dtype=torch.int8, device="cuda")
    events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {n: [] for n in runs}
    for run in runs.values():
        for _ in range(5):
            run()
    for _ in range(repeats):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            # Also keeps the GPU busy while the launch is prepared, so that it is not in the time.
            l2.zero_()
            start.record()
            run()
            end.record()
            events[name].append((start, end))
        torch.cuda.synchronize()
    return {name: [a.elapsed_time(b) for a, b in pairs] for name, pairs in events.items()}


def measure_ceilings(repeats: int) -> dict[str, float]:
    """What the device reaches in large matrix products and in copying, to compare with."""
    size = 8192
    half = torch.randn(size, size, device="cuda", dtype=torch.float16)
    integers = torch.randint(-128, 128, (size, size), device="cuda", dtype=torch.int8)
    source = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    samples = time_in_turns(
        {
            "fp16": lambda: half @ half,
            "int8": lambda: torch._int_mm(integers, integers.T),
            "copy": lambda: target.copy_(source),
        },
        repeats,
    )
    median = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "fp16_tera_ops_per_s": 2 * size**3 / median["fp16"] / 1e9,
        "int8_tera_ops_per_s": 2 * size**3 / median["int8"] / 1e9,
        "copy_gigabytes_per_s": 2 * source.numel() / median["copy"] / 1e6,
    }


def measure_case(
    case: str, model: str, size: int, peers: dict[str, Any], repeats: int
) -> list[Row]:
    """Check every peer, then time those that passed."""
    generator = torch.Generator().manual_seed(42)
    batch = Batch(CASES[case](size, generator), *MODELS[model], generator)
    rows: dict[str, Row] = {}
    runs: dict[str, Run] = {}
    for name, prepare in peers.items():
        row = Row(case, model, size, batch.tokens, batch.longest, batch.padding, name)
        rows[name] = row
        try:
            runs[name], row.not_measured = prepare(batch)
        except NotApplicable as reason:
            row.not_measured = str(reason)
        except (RuntimeError, XoptError) as error:
            row.not_measured = str(error).strip().splitlines()[0]
        if row.not_measured:
            runs.pop(name, None)
    for name, samples in time_in_turns(runs, repeats).items():
        width = 1 if "int8" in name else 2
        row = rows[name]
        row.samples_ms = tuple(samples)
        row.median_ms = statistics.median(samples)
        row.tera_ops_per_s = batch.operations / row.median_ms / 1e9
        row.gigabytes_per_s = (
            4 * batch.tokens * batch.heads * batch.head_dim * width / row.median_ms / 1e6
        )
    return list(rows.values())


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
        "# Attention",
        "",
        f"{result['device']}, torch {result['torch']}, triton {result['triton']}."
        f" Measured ceilings: {ceilings}.",
        "Median ms of the GPU (share of the measured ceilings: matrix operations, memory traffic).",
        "",
        f"| model | case | batch | tokens | padding | {' | '.join(peers)} |",
        "|" + "---|" * (5 + len(peers)),
    ]
    for key, by_peer in cells.items():
        values = []
        for peer in peers:
            row = by_peer[peer]
            if row["median_ms"] is None:
                values.append("-")
                continue
            kind = "int8" if "int8" in peer else "fp16"
            ops = row["tera_ops_per_s"] / result["ceilings"][f"{kind}_tera_ops_per_s"]
            memory = row["gigabytes_per_s"] / result["ceilings"]["copy_gigabytes_per_s"]
            values.append(f"{row['median_ms']:.4f} ({ops:.0%}, {memory:.0%})")
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(values)} |")
    reasons = {(row["peer"], row["not_measured"]) for row in rows if row["not_measured"]}
    lines += ["", *(f"- {peer}: {reason}." for peer, reason in sorted(reasons))]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--repeats", type=int, default=50, help="samples per peer and case")
    parser.add_argument("--tiles", nargs="*", default=[], help="such as 128x64x8x3, besides ours")
    parser.add_argument("--json", type=Path, help="where the raw samples go")
    parser.add_argument("--markdown", type=Path, help="where the table goes; else it is printed")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: the results of this benchmark are not measured.")
        return 2
    import triton

    peers = {**PEERS, **{f"tile {text}": prepare_tile(text) for text in options.tiles}}
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "repeats": options.repeats,
        "ceilings": measure_ceilings(options.repeats),
        "rows": [],
    }
    for model in options.models:
        for case in options.cases:
            for size in options.batches:
                print(f"{model} {case} batch {size}", file=sys.stderr, flush=True)
                rows = measure_case(case, model, size, peers, options.repeats)
                result["rows"] += [asdict(row) for row in rows]
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    table = render_markdown(result)
    if options.markdown:
        options.markdown.write_text(table)
    else:
        print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
