"""Texts are read in turn: a short request between the parts of long ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xopt.model.asking import Asking
from xopt.model.texts import Row
from xopt.serve import service as module
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service

LONG = "habari za asubuhi " * 3_000


def test_a_short_request_is_read_between_the_parts_of_long_ones(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service({"b": bundles["embed"]}, ServeOptions())
    served = service.find("b")
    encode, read_rows = served.model.session.encode, module.read_rows
    began, go = threading.Semaphore(0), threading.Event()
    read: list[str] = []

    def waiting(work: Any) -> Any:
        began.release()
        go.wait()
        return encode(work)

    def watched(tokenizer: Any, rows: Sequence[Row], kind: str, asking: Asking) -> Any:
        read.extend(row.name for row in rows)
        return read_rows(tokenizer, rows, kind, asking)

    monkeypatch.setattr(served.model.session, "encode", waiting)
    monkeypatch.setattr(module, "read_rows", watched)
    asking = Asking(truncate=True)

    async def ask() -> list[Any]:
        tasks = []
        for name in ("one", "two"):
            rows = [Row(LONG, None, f"{name} {number}") for number in range(3)]
            tasks.append(asyncio.create_task(service.ask(served, rows, asking)))
        # Each reader has a long request.
        for _ in tasks:
            await asyncio.to_thread(began.acquire)
        tasks.append(
            asyncio.create_task(service.ask(served, [Row("Habari", None, "short")], asking))
        )
        # Until its text waits to be read.
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tasks)

    try:
        # A browser's test may have left a loop in this thread.
        with ThreadPoolExecutor(1) as other:
            found = other.submit(lambda: asyncio.run(ask())).result()
    finally:
        service.close()
    assert [len(answers) for answers in found] == [3, 3, 1]
    assert read.index("short") < min(read.index("one 2"), read.index("two 2"))
