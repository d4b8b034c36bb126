"""Mixed load on ``xopt serve``: wrong answers, errors, and memory over many requests.

    python benchmarks/serve_load.py bundles/e5 --requests 100000 --minutes 60 --out load.json

Every text is first answered alone by ``xopt.load``: the reference table. Then clients with open
connections send requests in random order over every interface of an embedding model: 1 to 12 texts
of 2 to 120 words of random scripts, and one request in ten that must be refused (nothing, no text,
an unknown model, a number for a text, JSON that ends early). An answer is wrong if a value differs
from the table by more than the precision allows (1e-5 of the embedding's length in fp32, else
1e-3), if a mistake is not answered with a status of 4xx, or if a sound request is. The memory of
the server is read every 500 requests; its slope is that of a line through the second half.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import xopt
from xopt.calibrate.corpus import load_corpus
from xopt.host import host_facts

EVERY = 500
TABLE = 4000
Array = NDArray[np.float32]


def main() -> int:
    """Run the load; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description="mixed load on xopt serve")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("load.json"))
    given = parser.parse_args()
    texts = make_texts(given.seed)
    with xopt.load(given.bundle, threads=given.threads) as model:
        table = np.stack([model.encode([text], truncate=True)[0] for text in texts])
        precision = model.bundle.precision
    load = Load(texts, table, 1e-5 if precision == "fp32" else 1e-3, given.requests)
    with serving(given.bundle, given.threads) as (process, port):
        load.until = time.monotonic() + 60 * given.minutes
        load.pid = process
        clients = [
            threading.Thread(target=load.client, args=(port, f"{given.seed}:{number}"))
            for number in range(given.clients)
        ]
        begin = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        seconds = time.monotonic() - begin
    found = load.found() | {"seconds": seconds, "precision": precision, "host": host_facts()}
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k not in ("memory", "host")}, indent=1))
    return int(bool(found["wrong"]))


def make_texts(seed: int) -> list[str]:
    """Words of the calibration texts, in ever other order and number, short texts more often."""
    draw = random.Random(seed)
    words = [word for _, text in load_corpus().rows for word in text.split()]
    return [
        " ".join(draw.choices(words, k=min(120, 2 + int(draw.expovariate(1 / 16)))))
        for _ in range(TABLE)
    ]


@contextlib.contextmanager
def serving(bundle: Path, threads: int) -> Iterator[tuple[int, int]]:
    """(process, port) of a server; it is ended with SIGTERM."""
    words = [sys.executable, "-P", "-m", "xopt", "serve", f"m={bundle}", "--port", "0",
             "--threads", str(threads), "--timeout-s", "100000", "--truncate"]  # fmt: skip
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            if found:
                break
        else:
            raise SystemExit("xopt serve did not start")
        # Its log is read, or it would wait for a reader.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield server.pid, int(found.group(1))
    finally:
        server.send_signal(signal.SIGTERM)
        # What it was sent is what it ends with, when all is finished.
        assert server.wait() in (0, -signal.SIGTERM), "it did not end well"


class Load:
    """What the clients share."""

    def __init__(self, texts: list[str], table: Array, bound: float, requests: int) -> None:
        self.texts, self.table, self.bound, self.requests = texts, table, bound, requests
        self.until, self.pid = 0.0, 0
        self.sent, self.answers, self.largest, self.other = 0, 0, 0.0, 0
        self.by_interface: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[int, float]] = []
        self._lock = threading.Lock()

    def client(self, port: int, seed: str) -> None:
        """One connection after the other, a hundred requests each."""
        draw = random.Random(seed)
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for _ in range(100):
                if not self._next():
                    connection.close()
                    return
                try:
                    self._ask(connection, draw)
                except (OSError, http.client.HTTPException) as error:
                    self._note(f"{type(error).__name__}: {error}")
                    break
            connection.close()

    def found(self) -> dict[str, Any]:
        """The figures."""
        half = [pair for pair in self.memory if pair[0] >= self.sent / 2]
        slope = float(np.polyfit(*np.array(half).T, 1)[0]) * 10_000 if len(half) > 2 else None
        return {
            "requests": self.sent, "by_interface": dict(self.by_interface),
            "answers": self.answers, "wrong": len(self.wrong), "first_wrong": self.wrong[:10],
            "not_bit_equal": self.other, "largest_difference": self.largest, "bound": self.bound,
            "memory_mib": [m[1] for m in (self.memory[:1] + self.memory[-1:])],
            "slope_mib_per_10000": slope, "memory": self.memory,
        }  # fmt: skip

    def _next(self) -> bool:
        with self._lock:
            if self.sent >= self.requests or time.monotonic() > self.until:
                return False
            self.sent += 1
            if self.sent % EVERY == 1:
                status = Path(f"/proc/{self.pid}/status").read_text()
                resident = next(s for s in status.splitlines() if s.startswith("VmRSS"))
                self.memory.append((self.sent, int(resident.split()[1]) / 1024))
            return True

    def _note(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def _ask(self, connection: http.client.HTTPConnection, draw: random.Random) -> None:
        if draw.random() < 0.1:
            path, body = draw.choice(MISTAKES)
            status, said = _post(connection, path, body)
            with self._lock:
                self.by_interface["refused"] += 1
            if not 400 <= status < 500:
                self._note(f"{status} for {body[:60]!r} at {path}: {said[:100]!r}")
            return
        chosen = draw.sample(range(len(self.texts)), draw.choice((1, 1, 1, 2, 4, 12)))
        name, (path, ask, read) = draw.choice(list(INTERFACES.items()))
        body = json.dumps(ask([self.texts[number] for number in chosen])).encode()
        status, said = _post(connection, path, body)
        if status != 200:
            self._note(f"{status} at {path}: {said[:200]!r}")
            return
        values = read(json.loads(said))
        right = self.table[chosen]
        difference = np.abs(values - right).max(axis=1) / np.linalg.norm(right, axis=1)
        with self._lock:
            self.by_interface[name] += 1
            self.answers += len(chosen)
            self.other += int((difference > 0).sum())
            self.largest = max(self.largest, float(difference.max()))
        if not (difference <= self.bound).all():
            self._note(f"{name}: {difference.max():.2e} from the table")


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _packed(answer: dict[str, Any]) -> Array:
    parts = [base64.b64decode(entry["embedding"]) for entry in answer["data"]]
    return np.stack([np.frombuffer(part, "<f4") for part in parts])


def _output(answer: dict[str, Any]) -> Array:
    found = next(entry for entry in answer["outputs"] if entry["datatype"] == "FP32")
    return np.array(found["data"], np.float32).reshape(found["shape"])


Ask = Callable[[list[str]], dict[str, Any]]
# Name -> path, what is asked, how the answer is read.
INTERFACES: dict[str, tuple[str, Ask, Callable[[Any], Array]]] = {
    "OpenAI, float": (
        "/v1/embeddings",
        lambda texts: {"model": "m", "input": texts},
        lambda answer: np.array([e["embedding"] for e in answer["data"]], np.float32),
    ),
    "OpenAI, base64": (
        "/v1/embeddings",
        lambda texts: {"model": "m", "input": texts, "encoding_format": "base64"},
        _packed,
    ),
    "text-embeddings-inference": (
        "/embed",
        lambda texts: {"inputs": texts},
        lambda answer: np.array(answer, np.float32),
    ),
    "Open Inference Protocol": (
        "/v2/models/m/infer",
        lambda texts: {
            "inputs": [
                {"name": "TEXT", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}
            ]
        },
        _output,
    ),
}
MISTAKES = (
    ("/v1/embeddings", b'{"model": "m", "input": []}'),
    ("/v1/embeddings", b'{"model": "none", "input": ["a"]}'),
    ("/v1/embeddings", b'{"model": "m", "input": [17]}'),
    ("/embed", b'{"inputs": ["a", ""'),
    ("/embed", b'{"inputs": null}'),
    ("/predict", b'{"inputs": "a"}'),
    ("/v2/models/m/infer", b'{"inputs": [{"name": "TEXT"}]}'),
    ("/v2/models/none/infer", b"{}"),
)

if __name__ == "__main__":
    sys.exit(main())
