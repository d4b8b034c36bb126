"""xopt's INT8 bundle on this CPU beside the strongest form of each peer, in one interleaved run.

    python benchmarks/cpu.py --shape xlm-r-base --prepare       # downloads, conversions, builds
    python benchmarks/cpu.py --shape xlm-r-base --json > xlm-r-base.json
    python benchmarks/cpu.py --show xlm-r-base.json e5-small.json

Calls take turns. Before each round the machine's load is read while nothing of ours runs; a round
on a busy machine is told, and marked in the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from cpu_base import Call
from cpu_peers import PEERS
from shapes import SHAPES, random_checkpoint

from xopt.evaluate.work import WORK, timing
from xopt.hashing import cache_folder
from xopt.host import cpu_count, host_facts, tool_versions

# OpenMP's and ONNX Runtime's threads spin for up to 0.2 s after their work.
PAUSE_S = 0.25
# More of the cores' time than this in other hands, and a round is called busy.
BUSY = 0.1
WARMUP = 2


def _log_normal(count: int) -> list[int]:
    """As ``mixed32``: median 33 tokens, 6 to 128."""
    drawn = np.random.default_rng(0).lognormal(3.5, 0.5, count)
    return [int(n) for n in np.clip(np.round(drawn), 6, 128)]


# Case -> tokens of each sentence. qa8: windows of a question and a passage.
CASES: dict[str, list[int]] = {
    "b1_s8": [8],
    "b1_s32": [32],
    "b1_s128": [128],
    "b8_s64": [64] * 8,
    "b8_s128": [128] * 8,
    "mixed32": WORK["mixed32"],
    "mixed256": _log_normal(256),
    "qa8": [384] * 8,
}
DEFAULT = "xopt,openvino_f32,openvino_bf16,openvino_bf16_groups2,openvino_bf16_groups4,\
openvino_bf16_groups8,floor"


def main() -> None:
    arguments = _arguments()
    if arguments.show:
        for path in arguments.show:
            show(_stored(path))
        return
    begin = time.monotonic()
    scratch = cache_folder() / "benchmarks" / "cpu" / arguments.shape
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoint = random_checkpoint(arguments.shape, scratch / "checkpoint")
    peers: dict[str, Call] = {}
    for name in arguments.peers.split(","):
        print(f"preparing {name}", file=sys.stderr, flush=True)
        try:
            peers[name] = PEERS[name](checkpoint, scratch, arguments.threads)
        except ImportError as error:
            _stop(
                f"{name}: {error}. Install it (benchmarks/README.md), or leave it out of --peers."
            )
        if arguments.prepare:
            peers[name]([np.arange(5, 9, dtype=np.int32)] * 2)
            del peers[name]
    if arguments.prepare:
        return
    document: dict[str, Any] = {
        "shape": arguments.shape,
        "command": "python benchmarks/cpu.py " + " ".join(sys.argv[1:]),
        "host": host_facts()
        | {
            "threads": arguments.threads,
            "peers": tool_versions(
                *("ctranslate2", "nncf", "onnxruntime", "openvino", "transformers"),
                *("torch", "torchao", "zentorch"),
            ),
        },
        "cases": {},
        "busy": {},
    }
    names = arguments.cases.split(",")
    for number, case in enumerate(names):
        print(f"timing {case}", file=sys.stderr, flush=True)
        left = arguments.seconds - (time.monotonic() - begin)
        until = time.monotonic() + left / (len(names) - number)
        samples, busy = _measure(case, peers, arguments.repeat, until)
        tokens = sum(CASES[case])
        document["cases"][case] = {name: timing(found, tokens) for name, found in samples.items()}
        document["busy"][case] = busy
    if arguments.json:
        print(json.dumps(document, indent=1))
    else:
        show(document)


def _measure(
    case: str, peers: dict[str, Call], repeat: int, until: float
) -> tuple[dict[str, list[float]], list[float]]:
    """Milliseconds of each peer, and the share of the cores that others had before each round.

    Rounds end at ``until`` (of ``time.monotonic``), but for the first three.
    """
    generator = np.random.default_rng(1)
    ids = [generator.integers(5, 250_000, n).astype(np.int32) for n in CASES[case]]
    samples: dict[str, list[float]] = {name: [] for name in peers}
    busy: list[float] = []
    for round_ in range(WARMUP + repeat):
        if round_ >= WARMUP + 3 and time.monotonic() > until:
            break
        if round_ >= WARMUP:
            busy.append(round(busy_share(), 3))
            if busy[-1] > BUSY:
                print(f"{case}: others use {busy[-1]:.0%} of the cores", file=sys.stderr)
        # Each round begins with another peer.
        order = list(peers)
        turn = round_ % len(order)
        for name in order[turn:] + order[:turn]:
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            peers[name](ids)
            if round_ >= WARMUP:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return samples, busy


def busy_share(seconds: float = 0.3) -> float:
    """The share of all cores' time that was not idle, while this process sleeps; 0 to 1."""
    time.sleep(PAUSE_S)
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    spent = [b - a for a, b in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(1, sum(spent))


def _jiffies() -> list[int]:
    """User, nice, system, idle, iowait, irq, softirq and steal of all cores."""
    path = Path("/proc/stat")
    if not path.exists():
        return [0] * 8
    return [int(word) for word in path.read_text().splitlines()[0].split()[1:9]]


def strongest(timed: dict[str, Any]) -> str | None:
    """The peer with the smallest median; None where nothing but xopt and the floor was timed."""
    peers = [name for name in timed if name not in ("xopt", "floor")]
    return min(peers, key=lambda name: timed[name]["median_ms"], default=None)


def show(document: dict[str, Any]) -> None:
    """Medians in ms, and how fast xopt is beside the strongest peer of each case."""
    print(document["shape"])
    for case, timed in document["cases"].items():
        best = strongest(timed)
        said = []
        if "xopt" in timed:
            ours = timed["xopt"]["median_ms"]
            if best is not None:
                said.append(f"{timed[best]['median_ms'] / ours:.2f} x as fast as {best}")
            if "floor" in timed:
                said.append(f"{ours / timed['floor']['median_ms']:.2f} x the floor")
        loud = sum(share > BUSY for share in document["busy"][case])
        print(f"{case}: " + ", ".join(said) + (f" ({loud} busy rounds)" if loud else ""))
        for name, found in timed.items():
            low = min(found["samples_ms"])
            print(f"  {name:24s} median {found['median_ms']:9.2f} ms  min {low:9.2f} ms")


def _stored(path: str) -> dict[str, Any]:
    """A document that ``--json`` wrote."""
    try:
        document = json.loads(Path(path).read_text())
    except OSError as error:
        _stop(f"--show {path}: {error.strerror}.")
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not {"shape", "cases", "busy"} <= document.keys():
        _stop(f"--show {path} is no document of cpu.py --json. Write one: cpu.py --json > FILE")
    return document


def _stop(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def _names(known: Iterable[str]) -> Callable[[str], str]:
    """Comma-separated names, each of which is known and given once."""

    def check(given: str) -> str:
        names = given.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        if len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(f"{given!r} names one twice")
        return given

    return check


def _positive(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number of 1 or more")
    return int(given)


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{given!r} is no number of seconds above 0")
    return seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", default="xlm-r-base", choices=SHAPES)
    parser.add_argument("--prepare", action="store_true", help="make what is timed, time nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--show", nargs="+", help="print the tables of stored documents")
    parser.add_argument(
        "--peers", default=DEFAULT, type=_names(PEERS), help=f"of {', '.join(PEERS)}"
    )
    parser.add_argument(
        "--cases", default=",".join(CASES), type=_names(CASES), help=f"of {', '.join(CASES)}"
    )
    parser.add_argument("--repeat", type=_positive, default=15, help="most timed rounds")
    parser.add_argument("--seconds", type=_seconds, default=200, help="for the whole, about")
    parser.add_argument(
        "--threads", type=_positive, default=cpu_count(), help="cores for every peer"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # As by ``| head``; Python would write the rest once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
