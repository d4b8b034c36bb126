"""Open bundles by name, and what a request asks of them; no word of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.errors import InputError, did_you_mean
from xopt.host import release_memory
from xopt.model.asking import Asking, read_rows
from xopt.model.core import Model
from xopt.model.finishing import finish
from xopt.model.head import Head
from xopt.model.remote import TooLargeError, check_sizes, check_together
from xopt.model.results import Result
from xopt.model.texts import Row, chunked
from xopt.packing import Encoding
from xopt.serve.batching import Batcher, ClosedError
from xopt.serve.files import Files, same
from xopt.serve.options import ServeOptions

__all__ = ["ASIDE", "ReplacedError", "Served", "Service", "UnknownModelError"]

log = logging.getLogger(__name__)

HEALTH_TEXT = "Habari"
# Characters that are tokenized at a time, some 30 ms; then it is the turn of other requests.
READ_CHARACTERS = 65_536
# So many texts, or windows of them, are worth the wait for a thread.
ASIDE = 64

T = TypeVar("T")


class UnknownModelError(InputError):
    """A model, or a version of one, that is not served."""


class ReplacedError(ClosedError):
    """The model was replaced while its texts were read; the request has to begin anew."""


@dataclass
class Served:
    """A model that is served, with the queue in front of it.

    Attributes:
        name: what requests call it.
        model: an open one.
        batcher: in front of its engine.
        files: that nobody may write over.
        opened: seconds since the epoch.
    """

    name: str
    model: Model
    batcher: Batcher
    files: Files
    opened: float = field(default_factory=time.time)

    def close(self, drain_s: float) -> None:
        """Finish what runs, then close the engine."""
        self.batcher.close(drain_s)
        self.model.close()
        self.files.close()


class Service:
    """Several bundles by name.

    Args:
        bundles: name -> folder; the first is what requests without a name get.
        options: limits and waits.

    Raises:
        XoptError: a bundle cannot be opened; those that were are closed again.
    """

    def __init__(self, bundles: dict[str, Path], options: ServeOptions) -> None:
        self.options = options
        self.places = dict(bundles)
        self.models: dict[str, Served] = {}
        # Tokenizers leave Python; two threads keep up with two clients that send much at once.
        self.readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="xopt-reader")
        self.workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="xopt-worker")
        self.swapping = threading.Lock()
        self._checking: asyncio.Future[dict[str, bool]] | None = None
        try:
            for name, place in bundles.items():
                self.models[name] = self._open(name, place)
            self._check_dimensions()
        except BaseException:
            self.close()
            raise
        release_memory()

    def _check_dimensions(self) -> None:
        """Refuse a size that no bundle can cut its embeddings to: it would never be taken."""
        widths = {n: s.model.width for n, s in self.models.items() if s.model.head.kind == "embed"}
        for size in self.options.dimensions:
            if not any(size <= width for width in widths.values()):
                told = ", ".join(f"{name} has {width}" for name, width in widths.items())
                raise InputError(
                    f"--dimensions has {size}; {told or 'no bundle here gives embeddings'}.",
                    hint="Leave it out, or give sizes that the checkpoint was trained for.",
                )

    def _open(self, name: str, place: Path) -> Served:
        bundle = Bundle.open(place)
        model = Model.open(bundle, threads=self.options.threads, streams=self.options.streams)
        try:
            model.warm_up()
            served = Served(
                name,
                model,
                Batcher(
                    model.session,
                    batch_tokens=self.options.batch_tokens,
                    queue_tokens=self.options.queue_tokens,
                    timeout_s=self.options.timeout_s,
                ),
                Files(bundle),
            )
        except BaseException:
            model.close()
            raise
        return served

    def find(self, name: str | None) -> Served:
        """The model of this name; without a name the first.

        Raises:
            UnknownModelError: there is none of this name.
            ClosedError: the service has stopped.
        """
        if not self.models:
            raise ClosedError("This server has stopped.", hint="Ask again.")
        if name is None or name == "":
            return next(iter(self.models.values()))
        if name not in self.models:
            raise UnknownModelError(
                f"No model {name!r:.80} is served.", hint=did_you_mean(name, self.models)
            )
        return self.models[name]

    async def ask(
        self, served: Served, rows: Sequence[Row], asking: Asking, *, first: bool = False
    ) -> list[Result]:
        """The answers to a request, in order; ``first`` is for probes, see ``Batcher.submit``.

        Raises:
            TooLargeError: too many texts, or one too long.
            InputError: a text that cannot be answered; it is named.
            FullError, LateError, ClosedError: too much to do.
            ReplacedError: see :meth:`again`.
            BuildError: the engine answered with what is no number.
        """
        self._check(rows)
        if not rows:
            return []
        model = served.model
        parts = await self._read(model, rows, asking)
        encodings = [encoding for item in parts for encoding in item]
        try:
            asked = served.batcher.submit(encodings, first=first)
        except ClosedError as error:
            now = self.models.get(served.name)
            if now is None or now is served:
                raise
            raise ReplacedError("This model was replaced.", hint="Ask again.") from error
        answers = await asyncio.wrap_future(asked)
        work = partial(_finished, model.head, rows, parts, iter(answers), asking.normalize)
        return await self.aside(len(encodings), work)

    async def again(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives; it finds its model anew where that was replaced meanwhile."""
        while True:
            with contextlib.suppress(ReplacedError):
                return await ask()

    async def aside(self, size: int, work: Callable[[], T]) -> T:
        """What ``work`` gives; by a thread where it is of many texts, so that others go on."""
        if size < ASIDE:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    async def _read(
        self, model: Model, rows: Sequence[Row], asking: Asking
    ) -> list[list[Encoding]]:
        """The tokens of each row, by threads that leave Python; other requests come in between."""

        def read(part: Sequence[Row]) -> list[list[Encoding]]:
            return model.session.encode(
                lambda tokenizer: read_rows(tokenizer, part, model.head.kind, asking)
            )

        loop = asyncio.get_running_loop()
        found = []
        for part in chunked(rows, READ_CHARACTERS):
            found += await loop.run_in_executor(self.readers, read, part)
        return found

    def _check(self, rows: Sequence[Row]) -> None:
        """Refuse what must not reach the tokenizer: its time grows with every byte."""
        options = self.options
        if len(rows) > options.max_texts:
            raise TooLargeError(
                f"The request has {len(rows):,} texts; this server takes {options.max_texts:,}.",
                hint="Send several requests; they are joined again.",
            )
        check_sizes(rows, options.max_text_kib)
        check_together(rows, options.max_body_kib)

    async def check(self) -> dict[str, bool]:
        """Whether each model answers just now; who asks meanwhile gets the same answer."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self._check_all())
        return await asyncio.shield(self._checking)

    async def _check_all(self) -> dict[str, bool]:
        models = dict(self.models)
        found = await asyncio.gather(*map(self._answers, models.values()))
        return dict(zip(models, found, strict=True))

    async def _answers(self, served: Served) -> bool:
        async def ask() -> None:
            now = self.models.get(served.name, served)
            pair = HEALTH_TEXT if now.model.head.kind == "span" else None
            await self.ask(now, [Row(HEALTH_TEXT, pair)], Asking(), first=True)
            await asyncio.to_thread(now.files.check)

        try:
            await self.again(ask)
        except Exception as error:
            log.error("%s does not answer: %s", served.name, error)
            return False
        return True

    def reload(self) -> list[str]:
        """Open every bundle that was replaced in its folder; what runs is finished by the old one.

        Returns:
            The names of those that were opened anew. One that cannot be opened keeps its old form.
        """
        with self.swapping:
            changed = [name for name in self.places if self._replace(name)]
        if changed:
            # An old tokenizer is hundreds of MiB, which glibc would keep for this thread.
            release_memory()
        return changed

    def _replace(self, name: str) -> bool:
        place, old = self.places[name], self.models[name]
        try:
            if same(found := Bundle.open(place), old.model.bundle):
                found.verify()
                log.info("%s is unchanged", name)
                return False
            self.models[name] = self._open(name, place)
        except Exception as error:
            log.error("%s keeps its old bundle: %s", name, error)
            return False
        log.info("%s is answered by its new bundle", name)
        old.close(self.options.drain_s)
        return True

    def close(self) -> None:
        """Finish what runs and close everything."""
        models, self.models = list(self.models.values()), {}
        for served in models:
            served.close(self.options.drain_s)
        self.readers.shutdown()
        self.workers.shutdown()


def _finished(
    head: Head,
    rows: Sequence[Row],
    parts: Sequence[Sequence[Encoding]],
    answers: Iterator[NDArray[np.float32]],
    normalize: bool | None,
) -> list[Result]:
    return [
        finish(head, row, item, [next(answers) for _ in item], normalize)
        for row, item in zip(rows, parts, strict=True)
    ]
