"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.types import Scope

if TYPE_CHECKING:
    from xopt.serve.service import Service

__all__ = ["Metrics"]

# Upper bounds in seconds: from one short text to a full queue.
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests by route and status, and reads the queues when it is asked.

    Args:
        service: whose queues are read.
    """

    TYPE = prometheus_client.CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        self.service = service
        self.registry = prometheus_client.CollectorRegistry()
        labels = ("route", "status")
        self.requests = prometheus_client.Counter(
            "xopt_requests", "Requests answered or refused.", labels, registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "xopt_request_seconds", "From a request's first byte to its answer's last.",
            ("route",), buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.registry.register(self)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """One request; a path that is no route counts as ``other``."""
        route = getattr(scope.get("route"), "path", None) or "other"
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def collect(self) -> Iterator[Any]:
        """Of every model: tokens that wait, batches, texts and tokens answered."""
        waiting = GaugeMetricFamily("xopt_queue_tokens", "Tokens that wait.", labels=["model"])
        batches = CounterMetricFamily("xopt_batches", "Batches answered.", labels=["model"])
        texts = CounterMetricFamily("xopt_texts", "Texts answered.", labels=["model"])
        tokens = CounterMetricFamily("xopt_tokens", "Tokens answered.", labels=["model"])
        replaced = CounterMetricFamily(
            "xopt_replaced_tokens", "Tokens that a trimmed vocabulary lacks.", labels=["model"]
        )
        cancelled = CounterMetricFamily(
            "xopt_cancelled_texts", "Texts taken out of the queue: their client was gone, or late.",
            labels=["model"],
        )  # fmt: skip
        for name, served in list(self.service.models.items()):
            waiting.add_metric([name], served.batcher.waiting_tokens)
            batches.add_metric([name], served.batcher.batches)
            texts.add_metric([name], served.batcher.batched_texts)
            cancelled.add_metric([name], served.batcher.cancelled_texts)
            tokens.add_metric([name], served.model.session.usage.tokens)
            replaced.add_metric([name], served.model.session.usage.replaced)
        yield from (waiting, batches, texts, cancelled, tokens, replaced)

    def text(self) -> str:
        """The page that Prometheus reads."""
        return prometheus_client.generate_latest(self.registry).decode()
