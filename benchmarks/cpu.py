"""XLM-R-base shape on this CPU: xopt's INT8 bundle beside every peer, in one interleaved run.

python benchmarks/cpu.py [--json] [--peers a,b] [--cases a,b] [--repeat 15]
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from cpu_peers import PEERS
from shapes import random_checkpoint

from xopt.evaluate.work import WORK, time_interleaved, timing
from xopt.hashing import cache_folder
from xopt.host import cpu_count, host_facts, tool_versions

# OpenMP's and ONNX Runtime's threads spin for up to 0.2 s after their work.
PAUSE_S = 0.3


def main() -> None:
    arguments = _arguments()
    scratch = cache_folder() / "benchmarks" / "cpu"
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoint = random_checkpoint("xlm-r-base", scratch / "xlm-r-base")
    peers = {}
    for name in arguments.peers.split(","):
        print(f"preparing {name}", file=sys.stderr)
        peers[name] = PEERS[name](checkpoint, scratch, arguments.threads)
    cases = {}
    for case in arguments.cases.split(","):
        print(f"timing {case}", file=sys.stderr)
        generator = np.random.default_rng(1)
        ids = [generator.integers(5, 250_000, n).astype(np.int32) for n in WORK[case]]
        calls = {name: lambda call=call, ids=ids: call(ids) for name, call in peers.items()}
        timed = time_interleaved(calls, repeat=arguments.repeat, pause_s=PAUSE_S)
        cases[case] = {name: timing(timed[name], sum(WORK[case])) for name in peers}
    versions = tool_versions(
        "ctranslate2", "nncf", "onnxruntime", "openvino", "transformers", "torch"
    )
    document = {"host": host_facts() | {"peers": versions}, "cases": cases}
    if arguments.json:
        print(json.dumps(document, indent=1))
    else:
        show(document)


def show(document: dict) -> None:
    """The table: median and minimum in ms, and each peer's median over xopt's."""
    for case, timed in document["cases"].items():
        ours = timed.get("xopt", {}).get("median_ms")
        print(case)
        for name, found in timed.items():
            ratio = f"{found['median_ms'] / ours:5.2f}x" if ours else ""
            low = min(found["samples_ms"])
            print(f"  {name:22s} median {found['median_ms']:9.2f} ms  min {low:9.2f} ms  {ratio}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
    parser.add_argument("--cases", default=",".join(WORK), help="comma-separated")
    parser.add_argument("--repeat", type=int, default=15, help="timed rounds")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="cores for every peer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
