"""An engine that answers when a test lets it."""

from __future__ import annotations

import threading
from typing import Any

import pytest


class Held:
    """A model's engine that answers when it is let, and its queue, watched."""

    def __init__(self, served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batcher, self.go = served.batcher, threading.Event()
        self.began, self.queued, self.removed = (threading.Semaphore(0) for _ in range(3))
        start, queue = served.model.session.start, served.batcher._queue
        put, remove = queue.put, queue.remove

        def held(encodings: Any, **options: Any) -> Any:
            self.began.release()
            self.go.wait()
            return start(encodings, **options)

        def watched_put(*given: Any) -> None:
            put(*given)
            self.queued.release()

        def watched_remove(job: Any) -> int:
            found: int = remove(job)
            self.removed.release()
            return found

        monkeypatch.setattr(served.model.session, "start", held)
        monkeypatch.setattr(queue, "put", watched_put)
        monkeypatch.setattr(queue, "remove", watched_remove)
