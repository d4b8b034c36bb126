"""A locustfile for ``xopt serve``: every interface, with real texts and with mistakes.

    pip install locust                # 2.47.0, in an environment with xopt
    xopt serve m=bundles/e5 labels=bundles/nli reranker=bundles/mini --truncate
    locust -f benchmarks/serve_locust.py --headless -H http://127.0.0.1:8000 -u 24 -r 8 -t 5m

Of the models, ``m`` gives embeddings; ``labels`` and ``reranker`` are asked where they are served.
Each client asks again at once. One request in ten is a mistake, and has succeeded if it is refused
with 4xx and words; one in thirty goes away before its answer, over a connection of its own. Any
other answer fails: a status but 200, or another number of embeddings, labels or scores than texts.
Answers' values are checked by ``serve_load.py``.
"""

from __future__ import annotations

import json
import random
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from locust import FastHttpUser, events, task
from serve_ways import MISTAKES, WAYS, make_texts

MODELS: set[str] = set()
TEXTS: list[str] = []
COUNTS = (*[1] * 12, 2, 2, 4, 12)


@events.test_start.add_listener
def prepare(environment: Any, **_: Any) -> None:
    """The texts, the same in every run."""
    TEXTS.extend(make_texts(0))


class Client(FastHttpUser):
    """Asks what people's clients ask."""

    def on_start(self) -> None:
        """Which models there are."""
        with self.client.get("/v1/models") as answer:
            MODELS.update(entry["id"] for entry in answer.json()["data"])

    @task(20)
    def embeddings(self) -> None:
        """Over one of the interfaces of an embedding model."""
        name, way = random.choice(list(WAYS.items()))
        texts = random.sample(TEXTS, random.choice(COUNTS))
        answer = self._ask(name, way.path, way.ask(texts))
        if answer is not None and len(way.read(answer)) != len(texts):
            self._wrong(name, "another number of embeddings than of texts")

    @task(4)
    def labels(self) -> None:
        """Of texts and pairs."""
        if "labels" in MODELS:
            rows = [random.sample(TEXTS, random.choice((1, 2))) for _ in range(3)]
            answer = self._ask("TEI, labels", "/predict", {"inputs": rows, "model": "labels"})
            if answer is not None and len(json.loads(answer)) != len(rows):
                self._wrong("TEI, labels", "another number of labels than of texts")

    @task(4)
    def scores(self) -> None:
        """Of texts for a query."""
        if "reranker" in MODELS:
            query, *texts = random.sample(TEXTS, 6)
            body = {"query": query, "texts": texts, "model": "reranker"}
            answer = self._ask("TEI, scores", "/rerank", body)
            if answer is not None and {e["index"] for e in json.loads(answer)} != set(range(5)):
                self._wrong("TEI, scores", "another number of scores than of texts")

    @task(2)
    def operation(self) -> None:
        """What a probe and Prometheus ask."""
        self.client.get(random.choice(("/health", "/metrics", "/info", "/v2/models/m")))

    @task(3)
    def mistakes(self) -> None:
        """Each refused with words."""
        path, body = random.choice(MISTAKES)
        with self.client.post(path, data=body, name="mistakes", catch_response=True) as answer:
            if 400 <= answer.status_code < 500 and "error" in answer.json():
                answer.success()
            else:
                answer.failure(f"{answer.status_code} for {body[:60]!r} at {path}")

    @task(1)
    def leaves(self) -> None:
        """A client that goes away; nothing is expected, but of the others' answers."""
        body = json.dumps({"inputs": random.sample(TEXTS, 12)}).encode()
        place = urlsplit(self.host or "")
        with socket.create_connection((place.hostname, place.port)) as line:
            head = f"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body)
            time.sleep(random.random() / 5)

    def _ask(self, name: str, path: str, body: dict[str, Any]) -> bytes | None:
        with self.client.post(path, json=body, name=name) as answer:
            return answer.content if answer.status_code == 200 else None

    def _wrong(self, name: str, why: str) -> None:
        self.environment.events.request.fire(
            request_type="POST", name=name, response_time=0, response_length=0,
            exception=ValueError(why), context={},
        )  # fmt: skip
