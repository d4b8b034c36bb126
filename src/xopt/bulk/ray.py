"""Chunks of rows answered by workers of a Ray cluster.

Every machine needs this xopt, and must see the bundle under the path that it has here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.bulk.job import Numbered, Work
from xopt.bulk.local import rounding_of
from xopt.bulk.writing import Format
from xopt.cluster import connect
from xopt.errors import BuildError, InputError, XoptError
from xopt.model.asking import Asking
from xopt.model.core import Model
from xopt.model.texts import Row

__all__ = ["WorkerOptions", "workers_on_ray"]

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

    def rounding(self) -> dict[str, str]:
        """What the last digits of its answers depend on."""
        return rounding_of(self.model)

    def answer(
        self, number: int, rows: list[Row], rounding: Mapping[str, str]
    ) -> tuple[int, int, bytes]:
        """A chunk's part.

        Raises:
            InputError: this machine rounds otherwise than the one whose ``rounding`` is given.
        """
        if (own := self.rounding()) != rounding:
            raise InputError(
                f"Workers of one run would round otherwise: {os.uname().nodename} has "
                f"{_listed(own)}; another one {_listed(rounding)}.",
                hint="Take machines of one kind, or set ONEDNN_MAX_CPU_ISA on every one to what "
                "all have, such as AVX512_CORE_VNNI.",
            )
        [(_, results)] = self.model.chunks(
            [rows], self.options.asking, batch_tokens=self.options.batch_tokens
        )
        return number, len(rows), self.options.form.part(rows, results)


def _listed(rounding: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in rounding.items())


@contextmanager
def workers_on_ray(
    options: WorkerOptions, address: str, workers: int
) -> Iterator[tuple[dict[str, str], Work]]:
    """``workers`` processes of a cluster.

    Args:
        options: of each.
        address: of the cluster, or ``local`` for one on this machine.
        workers: at least 1.

    Yields:
        What the last digits of their answers depend on, and their work.

    Raises:
        InputError: ``workers`` is below 1, or a worker cannot open the bundle.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; at least 1 is needed.")
    ray = connect(address, why="xopt run --ray")
    try:
        remote = ray.remote(
            num_cpus=1, max_concurrency=HELD, max_restarts=RESTARTS, max_task_retries=RESTARTS
        )(Worker)
        pool = [remote.remote(options) for _ in range(workers)]
        rounding: dict[str, str] = _result(ray, pool[0].rounding.remote())

        def work(
            chunks: Iterator[Numbered], heard: Callable[[float], None]
        ) -> Iterator[tuple[int, int, bytes]]:
            return _follow(ray, pool, chunks, rounding)

        yield rounding, work
    finally:
        ray.shutdown()


def _follow(
    ray: Any, pool: list[Any], chunks: Iterator[Numbered], rounding: Mapping[str, str]
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
                waiting[worker.answer.remote(*numbered, rounding)] = worker
        if not waiting:
            return
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        free.append(waiting.pop(ready))
        yield _result(ray, ready)


def _result(ray: Any, reference: Any) -> Any:
    """What a worker returned, or the error it raised."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, XoptError):
            raise cause from error
        raise BuildError(
            f"A worker failed: {error}",
            hint="The answers so far are kept; the same command goes on with them.",
        ) from error
