"""Texts a second and latency of ``xopt serve``, beside its bare engine and beside other servers.

    python benchmarks/serve_speed.py bundles/e5 --out serve.json
    python benchmarks/serve_speed.py bundles/e5 --peer infinity=http://127.0.0.1:7997/embeddings

The texts are those of xopt's own 40 languages as they stand, one a request. In every round each
server is asked by ``--clients`` connections, each of which sends the next text when it has its
answer, and ``xopt bench --lengths`` times the engine alone on the same lengths. Then ``xopt serve``
is asked one text at a time, and at half of its texts a second with random arrivals: there a latency
counts from the arrival, whether a connection was free or not. Every answer is held against what
``xopt.load`` gives the text alone: the largest difference in a value of the embedding at length 1,
and the lowest cosine.

The clients are one thread over sockets that do not wait, with requests made beforehand, and answers
are read after the clock was stopped; the processor time that they took is told beside the server's.
A peer's address that ends in ``/infer`` is asked in the Open Inference Protocol, any other in
OpenAI's.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from serve_clients import Sample, ask_at, ask_closed, cpu_seconds, request
from serve_load import serving
from serve_ways import WAYS, Way

import xopt
from xopt.calibrate.corpus import load_corpus
from xopt.host import host_facts

Array = NDArray[np.float32]
# A round in which others kept so many cores busy tells more of them than of a server.
OTHERS = 0.2
WARM_S = 4.0
OPENAI, PROTOCOL = "OpenAI, base64", "Open Inference Protocol, bytes"


def main() -> int:
    """Run the rounds and write what was seen."""
    parser = argparse.ArgumentParser(description="texts a second and latency of xopt serve")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", action="append", choices=WAYS, help=f"by default {OPENAI}")
    parser.add_argument("--latency", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("serve.json"))
    given = parser.parse_args()
    texts = [text for _, text in load_corpus().rows]
    random.Random(0).shuffle(texts)
    table, lengths = reference(given.bundle, texts)
    found: dict[str, Any] = {
        "command": sys.argv, "host": host_facts(), "versions": xopt.__version__,
        "texts": len(texts), "tokens_a_text": float(np.mean(lengths)), "rounds": defaultdict(list),
    }  # fmt: skip
    with serving(given.bundle, None) as (pid, port):
        targets: dict[str, tuple[str, Way, int | None]] = {
            f"xopt serve, {way}": (f"http://127.0.0.1:{port}{WAYS[way].path}", WAYS[way], pid)
            for way in given.way or [OPENAI]
        }
        for peer in given.peer:
            name, url = peer.split("=", 1)
            targets[name] = (url, WAYS[PROTOCOL if url.endswith("/infer") else OPENAI], None)
        asked = {
            name: [request(url, way.ask([text])) for text in texts]
            for name, (url, way, _) in targets.items()
        }
        # Whatever a server makes for sizes that it has not met is made before.
        for name, (url, way, _) in targets.items():
            told(*ask_closed(url, asked[name], given.clients, WARM_S), table, way.read)
        for number in range(given.rounds):
            found["rounds"]["engine alone"].append(bench(given.bundle, lengths))
            for name, (url, way, server) in targets.items():
                before = cpu_seconds(server)
                samples, spent = ask_closed(url, asked[name], given.clients, given.seconds)
                said = told(samples, spent, table, way.read)
                said |= shares(before, spent, server)
                found["rounds"][name].append(said)
                print(
                    number, name, {k: v for k, v in said.items() if k != "samples_ms"}, flush=True
                )
        if given.latency:
            name, (url, way, _) = next(iter(targets.items()))
            rate = float(np.median([r["texts_per_s"] for r in found["rounds"][name]])) / 2
            for number in range(given.rounds):
                before = cpu_seconds(pid)
                lone, spent = ask_closed(url, asked[name], 1, given.seconds)
                said = told(lone, spent, table, way.read) | shares(before, spent, pid)
                found["rounds"]["lone"].append(said)
                before = cpu_seconds(pid)
                half, spent = ask_at(url, asked[name], rate, given.seconds, seed=number)
                said = told(half, spent, table, way.read) | shares(before, spent, pid)
                found["rounds"]["half load"].append(said)
    found["summary"] = summary(found["rounds"])
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["summary"], indent=1))
    return int(any(r.get("failed") for entries in found["rounds"].values() for r in entries))


def reference(bundle: Path, texts: Sequence[str]) -> tuple[Array, list[int]]:
    """The embedding of each text alone, and its tokens."""
    with xopt.load(bundle) as model:
        table = np.stack([model.encode([text], normalize=True, truncate=True)[0] for text in texts])
        lengths = [n for text in texts for n in [len(model.session.tokenizer.encode([text])[0])]]
    return table, lengths


def bench(bundle: Path, lengths: Sequence[int]) -> dict[str, Any]:
    """``xopt bench`` on these lengths: the engine without tokenizer and HTTP."""
    begin, before = time.perf_counter(), cpu_seconds(None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "lengths.txt")
        place.write_text("".join(f"{n}\n" for n in lengths))
        words = ["-m", "xopt", "bench", str(bundle), "--lengths", str(place), "--repeat", "3"]
        done = subprocess.run(
            [sys.executable, "-P", *words, "--json"], check=True, capture_output=True, text=True
        )
    [timed] = json.loads(done.stdout)["cases"]["lengths.txt"].values()
    return {
        "texts_per_s": timed["tokens_per_s"] / float(np.mean(lengths)),
        "tokens_per_s": timed["tokens_per_s"], "samples_ms": timed["samples_ms"],
    } | shares(before, time.perf_counter() - begin, None)  # fmt: skip


def told(
    samples: Sequence[Sample], seconds: float, table: Array, read: Callable[[bytes], Array]
) -> dict[str, Any]:
    """What a run was: texts a second, latencies, and whether the answers are right."""
    good = [s for s in samples if s.status == 200]
    if not good:
        raise SystemExit(f"no answer: {[(s.status, s.body[:300]) for s in samples[:1]]}")
    each = [1e3 * (s.ended - s.began) for s in good]
    values = np.stack([read(s.body).reshape(-1) for s in good])
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    right = table[[s.text for s in good]]
    return {
        "texts_per_s": len(good) / seconds, "failed": len(samples) - len(good),
        "p50_ms": float(np.percentile(each, 50)), "p99_ms": float(np.percentile(each, 99)),
        "largest_difference": float(np.abs(values - right).max()),
        "lowest_cosine": float((values * right).sum(axis=1).min()),
        "samples_ms": [round(value, 3) for value in each],
    }  # fmt: skip


def shares(before: Mapping[str, float], seconds: float, pid: int | None) -> dict[str, float]:
    """Cores that the clients, the server and others kept busy; of a peer nothing."""
    after = cpu_seconds(pid)
    found = {f"cores_of_{k}": (after[k] - before[k]) / seconds for k in after}
    whole = found.pop("cores_of_all")
    # Of a peer nobody knows which processes it has.
    if pid is not None or found["cores_of_bench"] > 0:
        found["cores_of_others"] = whole - sum(found.values())
    return found


def summary(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds in which others rested, if any, and the ratios that are asked for."""

    def median(name: str, key: str) -> float:
        quiet = [r for r in rounds[name] if r.get("cores_of_others", 0.0) < OTHERS]
        return float(np.median([r[key] for r in quiet or rounds[name]]))

    ours = next(name for name in rounds if name.startswith("xopt serve"))
    speed = median(ours, "texts_per_s")
    found: dict[str, Any] = {}
    for name in rounds:
        if name not in ("lone", "half load"):
            other = median(name, "texts_per_s")
            found[name] = {"texts_per_s": other, "ours_to_it": speed / other}
    for name in ("lone", "half load"):
        if name in rounds:
            keys = ("texts_per_s", "p50_ms", "p99_ms")
            found[name] = {key: median(name, key) for key in keys}
    if "lone" in found:
        tail = found["half load"]["p99_ms"]
        found["p99_half_to_lone_p50"] = tail / found["lone"]["p50_ms"]
        found["p99_half_to_lone_p99"] = tail / found["lone"]["p99_ms"]
    return found


if __name__ == "__main__":
    sys.exit(main())
