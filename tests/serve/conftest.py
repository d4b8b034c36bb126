"""Small bundles of every head, and a real server on a free port."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.serve.app import make_app
from xopt.serve.http import Protocol
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service

Factory = Callable[..., Path]
Reply = tuple[int, Any, dict[str, str]]


class Running:
    """A server that runs in a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        config = uvicorn.Config(
            make_app(service), port=0, http=Protocol, log_level="error", lifespan="on"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: Any = None, **headers: str) -> Reply:
        """(status, JSON or text, headers)."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _read(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read()), dict(error.headers)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


@contextlib.contextmanager
def started(bundles: dict[str, Path], **options: Any) -> Iterator[Running]:
    running = Running(Service(bundles, ServeOptions(**options)))
    running.thread.start()
    while not running.server.started:
        running.thread.join(0.01)
        assert running.thread.is_alive()
    try:
        yield running
    finally:
        running.server.should_exit = True
        running.thread.join()


@pytest.fixture(scope="session")
def bundles(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """fp32, one for each head; ``rerank`` has one label."""
    folder = tmp_path_factory.mktemp("served")
    made = {}
    for name, head, labels in (
        ("embed", "embed", None),
        ("rerank", "classify", ["score"]),
        ("nli", "classify", ["entailment", "neutral", "contradiction"]),
        ("tag", "tag", None),
        ("span", "span", None),
    ):
        checkpoint = make_checkpoint(head=head, labels=labels, seed=len(made))
        options = BuildOptions(checkpoint=str(checkpoint), precision="fp32", out=str(folder / name))
        made[name] = build_bundle(options, record=False).bundle.folder
    return made


@pytest.fixture(scope="session")
def server(bundles: dict[str, Path]) -> Iterator[Running]:
    with started(bundles, max_text_kib=8, max_body_kib=64, max_texts=100) as running:
        yield running


@pytest.fixture
def start() -> Callable[..., Any]:
    """``with start(bundles, port=…) as running``."""
    return started
