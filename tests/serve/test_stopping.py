"""A server that is told to end cuts no answer, on connections that clients keep open either."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.held import Held

BODIES = [json.dumps({"inputs": text}).encode() for text in ("Habari", "Guten Morgen", "おはよう")]


def send(line: socket.socket, body: bytes) -> None:
    line.sendall(
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


def receive(line: socket.socket) -> tuple[int, Any, str | None]:
    """(status, JSON, what becomes of the connection)."""
    answer = HTTPResponse(line)
    answer.begin()
    return answer.status, json.loads(answer.read()), answer.getheader("connection")


def test_what_runs_and_what_waits_is_answered_and_nothing_new_is_taken(
    start: Callable[..., Any], bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack, start({"embed": bundles["embed"]}) as running:
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        idle, *lines = [
            stack.enter_context(socket.create_connection(address, timeout=60))
            for _ in range(1 + len(BODIES))
        ]
        before = []
        for line, body in zip([idle, *lines], [BODIES[0], *BODIES], strict=True):
            send(line, body)
            before.append(receive(line))
        assert [(status, ends) for status, _, ends in before] == [(200, None)] * len(before)
        held = Held(running.service.models["embed"], monkeypatch)
        for line, body in zip(lines, BODIES, strict=True):
            send(line, body)
            assert held.queued.acquire(timeout=60)
        assert held.began.acquire(timeout=60)
        # What uvicorn does at SIGTERM.
        running.server.should_exit = True
        # The server has seen it: a connection on which nothing is asked ends.
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionError), socket.create_connection(address, timeout=60):
            pass
        held.go.set()
        for line, (_, right, _) in zip(lines, before[1:], strict=True):
            status, found, ends = receive(line)
            assert (status, ends) == (200, "close")
            np.testing.assert_allclose(found, right, atol=1e-5)
            assert line.recv(1) == b""
