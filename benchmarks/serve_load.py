"""Mixed load on ``xopt serve``: wrong answers, errors, and memory over many requests.

    python benchmarks/serve_load.py bundles/e5 --requests 100000 --minutes 60 --out load.json
    python benchmarks/serve_load.py bundles/e5 --other bundles/e5-b --rate 40 --slow 2 --minutes 15

Every text is first answered alone by ``xopt.load``: the reference table. Then clients with open
connections send requests in random order over every interface of an embedding model: 1 to 12 texts
of 2 to 400 words in 40 languages, and one request in ten that must be refused (nothing, no text,
an unknown model, a number for a text, JSON that ends early). An answer is wrong if a value differs
from the table by more than the precision allows (1e-5 of the embedding's length in fp32, else
1e-3), if a mistake is not answered with a status of 4xx, or if a sound request is. The memory of
the server is read every 500 requests: all that is resident, and of it what is no page of a file
(``anonymous``: pages of files go when the system needs room). Slopes are those of lines through
the second half.

With ``--rate`` the clients together send so many requests a second, at random moments, instead of
one after the other. ``--slow`` clients send a body in pieces with a second between them, take an
answer in pieces, or go away in the middle of either. With ``--other``, a second bundle, the folder
that is served becomes the other of the two every minute, and SIGHUP tells the server: an answer
must then be that of one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from serve_ways import MISTAKES, WAYS, make_texts

import xopt
from xopt.host import host_facts

EVERY = 500
# How many texts a request has, one after the other equally likely.
TEXTS = (*[1] * 12, 2, 2, 4, 12)
RELOAD_S = 60.0
Array = NDArray[np.float32]


def main() -> int:
    """Run the load; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description="mixed load on xopt serve")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, help="requests a second; as many as can be without")
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of the server; its default without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("load.json"))
    given = parser.parse_args()
    texts = make_texts(given.seed)
    bundles = [given.bundle.resolve(), *([given.other.resolve()] if given.other else [])]
    tables, precisions = [], set()
    for bundle in bundles:
        with xopt.load(bundle, threads=given.threads) as model:
            tables.append(np.stack([model.encode([t], truncate=True)[0] for t in texts]))
            precisions.add(model.bundle.precision)
    pause = given.clients / given.rate if given.rate else 0.0
    load = Load(texts, tables, 1e-5 if precisions == {"fp32"} else 1e-3, given.requests, pause)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "bundle")
        place.symlink_to(bundles[0])
        with serving(place, given.threads) as (process, port):
            begin = time.monotonic()
            load.until, load.pid = begin + 60 * given.minutes, process
            load.run(port, given.clients, given.slow, given.seed, place, bundles)
            seconds = time.monotonic() - begin
    found = load.found() | {"command": sys.argv, "seconds": seconds, "host": host_facts()}
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k not in ("memory", "host")}, indent=1))
    return int(bool(found["wrong"]))


@contextlib.contextmanager
def serving(bundle: Path, threads: int | None) -> Iterator[tuple[int, int]]:
    """(process, port) of a server; it is ended with SIGTERM."""
    words = [sys.executable, "-P", "-m", "xopt", "serve", f"m={bundle}", "--port", "0",
             "--timeout-s", "100000", "--truncate"]  # fmt: skip
    words += [] if threads is None else ["--threads", str(threads)]
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
        threading.Thread(target=_read_all, args=(server.stderr,), daemon=True).start()
        yield server.pid, int(found.group(1))
    finally:
        server.send_signal(signal.SIGTERM)
        # What it was sent is what it ends with, when all is finished.
        assert server.wait() in (0, -signal.SIGTERM), "it did not end well"


def _read_all(stream: Any) -> None:
    while stream.read(1 << 16):
        pass


class Load:
    """What the clients share."""

    def __init__(
        self, texts: list[str], tables: list[Array], bound: float, requests: int, pause: float
    ) -> None:
        self.texts, self.tables, self.bound = texts, tables, bound
        self.requests, self.pause = requests, pause
        self.until, self.pid = 0.0, 0
        self.sent, self.answers, self.largest, self.other, self.reloads = 0, 0, 0.0, 0, 0
        self.by_interface: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[int, float, float]] = []
        self.milliseconds: list[float] = []
        self._lock, self._over = threading.Lock(), threading.Event()

    def run(
        self, port: int, clients: int, slow: int, seed: int, place: Path, bundles: list[Path]
    ) -> None:
        """All clients, and the bundle that is replaced, until the requests or the time are over."""
        threads = [
            threading.Thread(target=self.client, args=(port, f"{seed}:{number}"))
            for number in range(clients)
        ]
        others = [
            threading.Thread(target=self.slow_client, args=(port, f"{seed}:slow:{number}"))
            for number in range(slow)
        ]
        if len(bundles) > 1:
            others.append(threading.Thread(target=self.replace, args=(place, bundles)))
        for thread in (*threads, *others):
            thread.start()
        for thread in threads:
            thread.join()
        self._over.set()
        for thread in others:
            thread.join()

    def client(self, port: int, seed: str) -> None:
        """One connection after the other, a hundred requests each."""
        draw = random.Random(seed)
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for _ in range(100):
                if self.pause:
                    time.sleep(draw.expovariate(1 / self.pause))
                if not self._next():
                    connection.close()
                    return
                try:
                    self._ask(connection, draw)
                except (OSError, http.client.HTTPException) as error:
                    self._note(f"{type(error).__name__}: {error}")
                    break
            connection.close()

    def slow_client(self, port: int, seed: str) -> None:
        """Bodies and answers in pieces; every third of either ends in the middle."""
        draw = random.Random(seed)
        while not self._over.is_set():
            chosen = draw.sample(range(len(self.texts)), 12)
            way = WAYS["OpenAI, float"]
            body = json.dumps(way.ask([self.texts[n] for n in chosen])).encode()
            connection = http.client.HTTPConnection("127.0.0.1", port)
            try:
                connection.putrequest("POST", way.path)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders()
                gone = draw.choice(("not", "while sending", "while reading"))
                cut = len(body) // 3
                for part in (body[:cut], body[cut : 2 * cut], body[2 * cut :]):
                    connection.send(part)
                    self._over.wait(1.0)
                    if gone == "while sending":
                        break
                if gone != "while sending":
                    answer = connection.getresponse()
                    parts = []
                    while part := answer.read(16_384):
                        parts.append(part)
                        self._over.wait(0.1)
                        if gone == "while reading":
                            break
                    if gone == "not":
                        self._judge("slow", answer.status, way.read(b"".join(parts)), chosen)
                with self._lock:
                    self.by_interface[f"slow, gone: {gone}"] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._note(f"slow: {type(error).__name__}: {error}")
            finally:
                connection.close()

    def replace(self, place: Path, bundles: list[Path]) -> None:
        """The other bundle at the same place, every minute."""
        while not self._over.wait(RELOAD_S):
            self.reloads += 1
            new = place.with_name("new")
            new.symlink_to(bundles[self.reloads % len(bundles)])
            new.replace(place)
            os.kill(self.pid, signal.SIGHUP)

    def found(self) -> dict[str, Any]:
        """The figures."""
        middle, late = np.percentile(self.milliseconds, (50, 99))
        half = np.array([point for point in self.memory if point[0] >= self.sent / 2])
        slopes = np.polyfit(half[:, 0], half[:, 1:], 1)[0] * 10_000 if len(half) > 2 else [None] * 2
        return {
            "requests": self.sent, "by_interface": dict(self.by_interface),
            "answers": self.answers, "wrong": len(self.wrong), "first_wrong": self.wrong[:10],
            "not_bit_equal": self.other, "largest_difference": self.largest, "bound": self.bound,
            "reloads": self.reloads, "p50_ms": float(middle), "p99_ms": float(late),
            "first_and_last": [self.memory[0], self.memory[-1]],
            "most_mib": np.max(self.memory, axis=0)[1:].tolist(),
            "slopes_mib_per_10000": list(slopes), "memory": self.memory,
            "memory_columns": ["requests", "resident MiB", "anonymous MiB"],
        }  # fmt: skip

    def _next(self) -> bool:
        with self._lock:
            if self.sent >= self.requests or time.monotonic() > self.until:
                return False
            self.sent += 1
            if self.sent % EVERY == 1:
                status = Path(f"/proc/{self.pid}/status").read_text()
                mib = {k: int(n) / 1024 for k, n in re.findall(r"(VmRSS|RssAnon):\s+(\d+)", status)}
                self.memory.append((self.sent, mib["VmRSS"], mib["RssAnon"]))
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
        chosen = draw.sample(range(len(self.texts)), draw.choice(TEXTS))
        name, way = draw.choice(list(WAYS.items()))
        body = json.dumps(way.ask([self.texts[number] for number in chosen])).encode()
        begin = time.perf_counter()
        status, said = _post(connection, way.path, body)
        spent = 1e3 * (time.perf_counter() - begin)
        if status != 200:
            self._note(f"{status} at {way.path}: {said[:200]!r}")
            return
        self._judge(name, status, way.read(said), chosen)
        with self._lock:
            self.milliseconds.append(spent)

    def _judge(self, name: str, status: int, values: Array, chosen: list[int]) -> None:
        """Every answer of a request must be that of one bundle, the same one."""
        differences = []
        for table in self.tables:
            right = table[chosen]
            differences.append(np.abs(values - right).max(axis=1) / np.linalg.norm(right, axis=1))
        difference = min(differences, key=lambda found: float(found.max()))
        with self._lock:
            self.by_interface[name] += 1
            self.answers += len(chosen)
            self.other += int((difference > 0).sum())
            self.largest = max(self.largest, float(difference.max()))
        if status != 200 or not (difference <= self.bound).all():
            self._note(f"{name}: {status}, {difference.max():.2e} from the table")


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


if __name__ == "__main__":
    sys.exit(main())
