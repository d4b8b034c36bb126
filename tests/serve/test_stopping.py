"""A server that is told to end cuts no answer, on connections that clients keep open either."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.held import Held

from xopt.serve import http

BODIES = [json.dumps({"inputs": text}).encode() for text in ("Habari", "Guten Morgen", "おはよう")]


def request(body: bytes) -> bytes:
    return b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def send(line: socket.socket, body: bytes) -> None:
    line.sendall(request(body))


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


def test_a_body_of_which_nothing_more_comes_is_not_waited_for(
    start: Callable[..., Any], bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "STALLED_S", 2.0)
    with start({"embed": bundles["embed"]}) as running, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        stalled, behind, slow = lines = [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(3)
        ]
        held = Held(running.service.models["embed"], monkeypatch)
        stack.callback(held.go.set)
        whole, part = request(BODIES[0]), request(BODIES[1])[:-20]
        behind.sendall(whole)
        assert held.queued.acquire(timeout=60)
        for line in lines:
            line.sendall(part)
        # All of it was read: a further request is.
        assert running.ask("/v2/health/live")[0] == 200
        running.server.should_exit = True
        # One whose body still comes is waited for, and so is what was whole.
        for byte in BODIES[1][-20:]:
            time.sleep(0.25)
            slow.sendall(bytes([byte]))
        assert stalled.recv(1) == b""
        held.go.set()
        assert receive(slow)[0] == 200
        assert receive(behind)[0] == 200
        assert behind.recv(1) == b""


def test_what_a_stopping_server_cannot_finish_is_told_in_words(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with start({"embed": bundles["embed"]}) as running, contextlib.ExitStack() as stack:
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(caplog.handler)
        stack.callback(logger.removeHandler, caplog.handler)
        running.server.config.timeout_graceful_shutdown = 1
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        held = Held(running.service.models["embed"], monkeypatch)
        stack.callback(held.go.set)
        waits, stalled = [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(2)
        ]
        waits.sendall(request(BODIES[0]))
        stalled.sendall(request(BODIES[0])[:-1])
        assert held.began.acquire(timeout=60)
        running.server.should_exit = True
        for line in (waits, stalled):
            status, found, _ = receive(line)
            assert (status, found["error"]) == (503, "This server has stopped. Ask again.")
        held.go.set()
    assert "Traceback" not in caplog.text
