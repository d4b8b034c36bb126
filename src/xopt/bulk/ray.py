"""Chunks of rows answered by workers of a Ray cluster.

Every machine needs this xopt, and must see the bundle under the path that it has here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.bulk.job import Numbered, Work
from xopt.bulk.writing import Format
from xopt.cluster import connect
from xopt.errors import BuildError, InputError, XoptError
from xopt.model.asking import Asking
from xopt.model.core import Model
from xopt.model.texts import Row

__all__ = ["WorkerOptions", "work_on_ray"]

# Chunks that a worker holds: one is answered while the next one is encoded.
HELD = 2
# A worker that died is started again this often, and its chunks are answered again.
RESTARTS = 3


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker opens, and how it answers.

    Attributes:
        folder: of the bundle.
        fingerprint: the bundle's, so that no worker answers from another one.
        threads: cores of one worker. As many as in a run without Ray, because an answer can differ
            in its last bit with the groups that a batch is cut into.
        streams: of one worker, as many as in a run without Ray for the same reason.
        device: as ``xopt.load`` takes it.
        asking: how texts are read.
        form: how answers are written.
        batch_tokens: most slots of a batch.
    """

    folder: str
    fingerprint: str
    threads: int | None
    streams: int | None
    device: str | None
    asking: Asking
    form: Format
    batch_tokens: int | None


class Worker:
    """One open model; its answers are parts of the output."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        bundle = Bundle.open(Path(options.folder))
        if bundle.fingerprint != options.fingerprint:
            raise InputError(f"{options.folder} is another bundle on {os.uname().nodename}.")
        self.model = Model.open(
            bundle, threads=options.threads, streams=options.streams, device=options.device
        )
        self.model.warm_up()

    def answer(self, number: int, rows: list[Row]) -> tuple[int, int, bytes]:
        """A chunk's part."""
        [(_, results)] = self.model.chunks(
            [rows], self.options.asking, batch_tokens=self.options.batch_tokens
        )
        return number, len(rows), self.options.form.part(rows, results)


def work_on_ray(options: WorkerOptions, address: str, workers: int) -> Work:
    """Work of ``workers`` processes of a cluster.

    Args:
        options: of each.
        address: of the cluster, or ``local`` for one on this machine.
        workers: at least 1.

    Raises:
        InputError: ``workers`` is below 1.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; at least 1 is needed.")

    def work(
        chunks: Iterator[Numbered], heard: Callable[[float], None]
    ) -> Iterator[tuple[int, int, bytes]]:
        ray = connect(address, why="xopt run --ray")
        try:
            remote = ray.remote(
                num_cpus=1, max_concurrency=HELD, max_restarts=RESTARTS, max_task_retries=RESTARTS
            )(Worker)
            pool = [remote.remote(options) for _ in range(workers)]
            yield from _follow(ray, pool, chunks)
        finally:
            ray.shutdown()

    return work


def _follow(
    ray: Any, pool: list[Any], chunks: Iterator[Numbered]
) -> Iterator[tuple[int, int, bytes]]:
    """Hand out chunks as workers become free; a bounded number is under way."""
    waiting: dict[Any, Any] = {}
    free = pool * HELD
    more = True
    while True:
        while free and more:
            numbered = next(chunks, None)
            more = numbered is not None
            if numbered is not None:
                worker = free.pop(0)
                waiting[worker.answer.remote(*numbered)] = worker
        if not waiting:
            return
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        free.append(waiting.pop(ready))
        try:
            found = ray.get(ready)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, XoptError):
                raise cause from error
            raise BuildError(
                f"A worker failed: {error}",
                hint="The answers so far are kept; the same command goes on with them.",
            ) from error
        yield found
