"""Damaged HTTP bodies, over sockets: each is answered or refused in words, and none ends a server.

A server with one small bundle of each head. Bodies are those that clients send, with a value, a
byte or the end of one changed; some clients hang up before they have sent all, or read nothing.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damage import damage_bytes, damage_json
from tests.tiny import save_checkpoint, save_tokenizer

__all__ = ["Bodies", "run_bodies"]

HEADS = ("embed", "classify", "tag", "span")
# Seconds of a request, which has three texts at most.
MOST_S = 10.0
TEXTS = ["Habari za asubuhi", "Good morning", "おはよう 😀"]


def _tensor(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}


SOUND: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/embeddings", {"model": "embed", "input": TEXTS, "encoding_format": "float",
                        "dimensions": 64, "user": "a", "truncate": True}),
    ("/v1/embeddings", {"model": "embed", "input": TEXTS[0], "encoding_format": "base64"}),
    ("/embed", {"model": "embed", "inputs": TEXTS, "normalize": True, "truncate": False}),
    ("/predict", {"model": "classify", "inputs": [[TEXTS[0], TEXTS[1]]], "raw_scores": False}),
    ("/predict", {"model": "classify", "inputs": TEXTS[0], "truncate": True}),
    ("/", {"model": "embed", "inputs": TEXTS}),
    ("/page/ask", {"model": "span", "texts": ["Where?"], "pair": "Beside the river."}),
    *((f"/v2/models/{name}/infer",
       {"id": "7", "parameters": {"truncate": True}, "inputs": [_tensor("TEXT", TEXTS)]})
      for name in ("embed", "classify", "tag")),
    ("/v2/models/span/infer",
     {"inputs": [_tensor("TEXT", ["Where?"]), _tensor("PAIR", ["Beside the river."])]}),
)  # fmt: skip


@dataclass
class Bodies:
    """What came of the requests: how often each status, how many hung up, and what was wrong."""

    statuses: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def run_bodies(scratch: Path, count: int, seed: int, seconds: float = float("inf")) -> Bodies:
    """``count`` requests, one after the other; after each that hung up the server must answer.

    ``seconds``: after which no more are sent, from the server's start on.
    """
    found = Bodies()
    with _server(scratch) as address:
        until = time.monotonic() + seconds
        for number in range(count):
            if time.monotonic() > until:
                break
            key = f"{seed}:{number}"
            random = Random(key)
            path, body = random.choice(SOUND)
            text = json.dumps(body, ensure_ascii=random.random() < 0.5)
            done, raw = _damaged(text, random)
            begin = time.monotonic()
            if random.random() < 0.1:
                _hang_up(address, path, raw, random)
                found.hung_up += 1
                done, raw = "sound, behind one that hung up", text.encode()
            status, said = _asked(address, path, raw)
            spent = time.monotonic() - begin
            found.statuses[status] += 1
            found.slowest_s = max(found.slowest_s, spent)
            if wrong := _wrong(status, said, spent, sound=done.startswith("sound")):
                found.faults.append(f"{wrong}  [{path}: {done}; {key}]")
    return found


def _damaged(text: str, random: Random) -> tuple[str, bytes]:
    if random.random() < 0.2:
        done, raw = damage_bytes(text.encode(), random)
        return done, raw
    done, changed = damage_json(text, random)
    if random.random() < 0.1:
        return f"{done}, a number of 5,000 digits", changed.replace("64", "6" * 5000).encode()
    return done, changed.encode("utf-8", "surrogatepass")


def _wrong(status: int, said: bytes, spent: float, *, sound: bool) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    if spent > MOST_S:
        return f"takes {spent:.0f} s"
    if not (status == 200 or 400 <= status < 500) or (sound and status != 200):
        return f"status {status}: {said[:200]!r}"
    try:
        found = json.loads(said, parse_constant=_no_number)
    except ValueError as error:
        return f"no JSON: {error}"
    return None if status == 200 or found else "refused without a word"


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _request(path: str, body: bytes, stated: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {stated}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _asked(address: tuple[str, int], path: str, body: bytes) -> tuple[int, bytes]:
    with socket.create_connection(address, timeout=MOST_S) as opened:
        opened.sendall(_request(path, body, len(body)))
        answer = b""
        while part := opened.recv(1 << 16):
            answer += part
    head, _, said = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if b"transfer-encoding: chunked" in head.lower():
        raise AssertionError("answers have a length")
    return int(status[0]) if status else 0, said


def _hang_up(address: tuple[str, int], path: str, body: bytes, random: Random) -> None:
    """Send a part and close, or all and read nothing of the answer."""
    raw = _request(path, body, len(body) + random.choice((0, 0, 1, 10_000)))
    with socket.create_connection(address, timeout=MOST_S) as opened:
        opened.sendall(raw[: random.randrange(1, len(raw) + 1)])


def _bundle(scratch: Path, head: str) -> Path:
    """A small bundle of this head; one that is there is taken."""
    folder, out = scratch / head, scratch / f"b-{head}"
    if out.is_dir():
        return out
    from xopt.compile.build import build_bundle
    from xopt.compile.options import BuildOptions

    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer = scratch / "tokenizer.json"
    if not tokenizer.exists():
        save_tokenizer(tokenizer)
    if not folder.is_dir():
        save_checkpoint(folder, tokenizer, "xlm-roberta", head, num_hidden_layers=1)
    options = BuildOptions(checkpoint=str(folder), precision="fp32", out=str(out))
    return build_bundle(options, record=False).bundle.folder


@contextmanager
def _server(scratch: Path) -> Iterator[tuple[str, int]]:
    import uvicorn

    from xopt.serve.app import make_app
    from xopt.serve.options import ServeOptions
    from xopt.serve.service import Service

    bundles = {head: _bundle(scratch, head) for head in HEADS}
    # Requests by the thousand would fill the terminal; what they are answered is counted here.
    logger = logging.getLogger("xopt.serve")
    logger.setLevel(logging.CRITICAL)
    service = Service(bundles, ServeOptions(threads=1, streams=1))
    config = uvicorn.Config(make_app(service), port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join()
        logger.setLevel(logging.NOTSET)
