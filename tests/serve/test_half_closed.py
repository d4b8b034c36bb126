"""A client may end its own side of a connection and wait; one that has gone is told from it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.serve.held import Held

ASKED = json.dumps({"inputs": ["Habari", "Guten Morgen"]}).encode()
POST = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
WHOLE = POST % len(ASKED) + ASKED


@pytest.fixture(params=["uvloop", "asyncio"])
def running(
    request: pytest.FixtureRequest,
    start: Callable[..., Any],
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """A server on each of the two loops."""
    if request.param == "asyncio":
        monkeypatch.setattr(uvicorn.Config, "get_loop_factory", lambda _: asyncio.new_event_loop)
    else:
        pytest.importorskip("uvloop")
    with start({"embed": bundles["embed"]}) as found:
        yield found


def connect(running: Any) -> socket.socket:
    port = int(running.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def all_of(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65_536), b""))


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (WHOLE, 1),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), 1),
        (WHOLE * 3, 3),
        (WHOLE + b"GET /he", 1),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        # What can never be whole is no request.
        (WHOLE[:-1], 0),
        (WHOLE[:20], 0),
        (b"", 0),
    ],
)
def test_whole_requests_of_a_side_that_has_ended_are_answered(
    running: Any, sent: bytes, answers: int
) -> None:
    _, right, _ = running.ask("/embed", ASKED)
    with connect(running) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        found = all_of(line)
    assert found.count(b"HTTP/1.1 200") == answers
    # Only before an answer, and only for who knows of it.
    told = found.count(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert told == (answers > 0 and b"HTTP/1.0" not in sent)
    assert found.startswith(b"HTTP/1.1 100") or not told
    if b"/embed" in sent and answers:
        assert found.count(json.dumps(right, separators=(",", ":")).encode()) == answers
    assert 'status="500"' not in running.ask("/metrics")[1]


def test_who_left_behind_a_large_body_is_seen(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(running.service.models["embed"], monkeypatch)
    probe = threading.Thread(target=running.ask, args=("/health",))
    probe.start()
    assert held.began.acquire(timeout=60)
    assert held.queued.acquire(timeout=60)
    texts = ["Habari", "Guten Morgen"]
    # More than the server reads ahead while it waits for its turn.
    body = json.dumps({"inputs": texts, "user": "x" * 2**20}).encode()
    with connect(running) as line:
        line.sendall(POST % len(body) + body)
        assert held.queued.acquire(timeout=60)
    assert held.removed.acquire(timeout=60)
    assert held.batcher.waiting_tokens == 0
    held.go.set()
    probe.join()
    assert 'xopt_requests_total{route="/embed",status="499"} 1.0' in running.ask("/metrics")[1]


def test_who_leaves_with_the_whole_answer_was_answered(running: Any) -> None:
    for _ in range(20):
        with connect(running) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert all_of(line).startswith(b"HTTP/1.1 200")
    assert 'route="/",status="499"' not in running.ask("/metrics")[1]
