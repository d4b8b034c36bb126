"""A client that goes away takes what of its request has not begun out of the queue."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.asked import INTERFACES, TEXTS
from tests.serve.held import Held


@pytest.mark.parametrize(("path", "name", "body"), INTERFACES)
def test_who_leaves_is_not_answered_and_gives_the_queue_back(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    name: str,
    body: dict[str, Any],
) -> None:
    with start({name: bundles[name]}) as running:
        held = Held(running.service.models[name], monkeypatch)
        found: list[Any] = []
        # Its texts have the whole engine, or all of its lanes.
        probe = threading.Thread(target=lambda: found.append(running.ask("/health")))
        probe.start()
        assert held.began.acquire(timeout=60)
        assert held.queued.acquire(timeout=60)
        data = json.dumps(body).encode()
        way = path.replace("{name}", name)
        head = f"POST {way} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        port = int(running.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(head.encode() + data)
            assert held.queued.acquire(timeout=60)
            assert held.batcher.waiting_tokens > 0
        assert held.removed.acquire(timeout=60)
        assert held.batcher.waiting_tokens == 0
        held.go.set()
        probe.join()
        assert found[0][0] == 200
        # What comes next is answered, and nothing of who left ever was.
        assert running.ask(way, body)[0] == 200
        assert held.batcher.batched_texts == 1 + len(TEXTS)
        _, text, _ = running.ask("/metrics")
    assert f'xopt_cancelled_texts_total{{model="{name}"}} {len(TEXTS):.1f}' in text
    assert f'xopt_requests_total{{route="{path}",status="499"}} 1.0' in text
    assert 'status="500"' not in text


def test_who_leaves_many_requests_on_one_connection_is_no_error(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with start({"embed": bundles["embed"]}) as running:
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(caplog.handler)
        held = Held(running.service.models["embed"], monkeypatch)
        found: list[Any] = []
        probe = threading.Thread(target=lambda: found.append(running.ask("/health")))
        probe.start()
        assert held.began.acquire(timeout=60)
        assert held.queued.acquire(timeout=60)
        data = json.dumps({"inputs": TEXTS}).encode()
        one = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data
        port = int(running.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(one * 3)
            assert held.queued.acquire(timeout=60)
        assert held.removed.acquire(timeout=60)
        held.go.set()
        probe.join()
        assert running.ask("/embed", {"inputs": TEXTS})[0] == 200
        # Only the first of the three had its turn.
        _, text, _ = running.ask("/metrics")
        assert 'xopt_requests_total{route="/embed",status="499"} 1.0' in text
        assert held.batcher.waiting_tokens == 0
    logger.removeHandler(caplog.handler)
    assert caplog.messages == []
