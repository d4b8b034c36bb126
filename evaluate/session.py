"""An engine with its tokenizer: texts in, one answer per text out, in the order they were given."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, open_engine
from xopt.packing import Encoding, PackedBatch, pack, plan_batches
from xopt.tokenization import Tokenizer

__all__ = ["Session", "Usage"]

Array = NDArray[np.float32]
Encode = Callable[[Tokenizer, int, int], list[Encoding]]
EncodeParts = Callable[[Tokenizer, int, int], list[list[Encoding]]]
Progress = Callable[[float], None]
T = TypeVar("T")

# Texts tokenized at a time, while the engine answers the ones before.
CHUNK = 2048
# The engine waits for the first of them only.
FIRST = 256


def _unheard(share: float) -> None:
    """Progress that nobody watches."""


@dataclass
class Usage:
    """What a session has done so far; seconds of wall time."""

    sentences: int = 0
    tokens: int = 0
    engine_s: float = 0.0
    tokenization_s: float = 0.0
    lengths: list[int] = field(default_factory=list)

    def add(self, other: Usage) -> None:
        """Count what another session, or another language, has done too."""
        self.sentences += other.sentences
        self.tokens += other.tokens
        self.engine_s += other.engine_s
        self.tokenization_s += other.tokenization_s
        self.lengths += other.lengths


@dataclass
class _Chunk(Generic[T]):
    """Items that were encoded together: from item ``start`` on, one encoding or more of each."""

    start: int
    items: Sequence[T]
    encodings: Sequence[Encoding]
    done: int = 0

    def __post_init__(self) -> None:
        self.lengths = [len(encoding) for encoding in self.encodings]


@dataclass(frozen=True)
class _Started(Generic[T]):
    """A batch that the engine has begun."""

    chunk: _Chunk[T]
    indices: NDArray[np.intp]
    batch: PackedBatch
    answer: Callable[[], dict[str, NDArray[np.generic]]]


class Session:
    """One open engine, used for every language of a run.

    Args:
        bundle: verified before its engine is opened.
        batch_tokens: most slots of a batch, tokens and padding together.
    """

    def __init__(self, bundle: Bundle, *, batch_tokens: int = 4096, **options: Any) -> None:
        self.bundle = bundle
        self.engine: Engine = open_engine(bundle, **options)
        self.tokenizer = Tokenizer.open(
            bundle.folder / "tokenizer.json", self.engine.signature.max_tokens
        )
        self.batch_tokens = batch_tokens
        self.usage = Usage()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.close()

    def answers(
        self, count: int, encode: Encode, *, progress: Progress = _unheard
    ) -> Iterator[tuple[int, Encoding, Array]]:
        """Answer ``count`` items, tokenizing the next chunk while the engine runs this one.

        Args:
            count: number of items.
            encode: ``encode(tokenizer, start, stop)`` gives the encodings of a run of items.
            progress: called with the finished share.

        Yields:
            (index, encoding, answer): ``[width]`` for a head per sentence, ``[n, width]`` for one
            per token. Chunks come in order; within one, batches of like lengths.
        """
        chunks = (
            _Chunk(start, encodings, encodings) for start, encodings in self._ahead(count, encode)
        )
        for chunk, index, answer in self._run(chunks, count, progress):
            yield chunk.start + index, chunk.encodings[index], answer

    def parts(
        self, count: int, encode: EncodeParts, *, progress: Progress = _unheard
    ) -> Iterator[tuple[int, list[Encoding], list[Array]]]:
        """As :meth:`answers`, for items of one encoding or more: windows, or parts of a sentence.

        Yields:
            (index, encodings, answers) of each item, in order.
        """
        chunks = (
            _Chunk(start, items, [encoding for item in items for encoding in item])
            for start, items in self._ahead(count, encode)
        )
        found: dict[int, Array] = {}
        for chunk, index, answer in self._run(chunks, count, progress):
            found[index] = answer
            if len(found) < len(chunk.encodings):
                continue
            place = 0
            for number, item in enumerate(chunk.items):
                answers = [found[i] for i in range(place, place + len(item))]
                yield chunk.start + number, item, answers
                place += len(item)
            found = {}

    def rows(self, count: int, encode: Encode, *, progress: Progress = _unheard) -> Array:
        """``[count, width]``: as :meth:`answers`, for a head that answers per sentence."""
        table = np.empty((count, self.engine.signature.width), np.float32)
        for index, _, answer in self.answers(count, encode, progress=progress):
            table[index] = answer
        return table

    def _ahead(
        self, count: int, encode: Callable[[Tokenizer, int, int], list[T]]
    ) -> Iterator[tuple[int, list[T]]]:
        """(first item, what was encoded) of each chunk, the next one being encoded meanwhile."""
        starts = [0, *range(FIRST, count, CHUNK)]
        stops = [*starts[1:], count]
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self._encode, encode, 0, stops[0])
            for number, (start, following) in enumerate(zip(starts, stops, strict=True)):
                encoded = ahead.result()
                if following < count:
                    ahead = pool.submit(self._encode, encode, following, stops[number + 1])
                yield start, encoded

    def _encode(
        self, encode: Callable[[Tokenizer, int, int], list[T]], start: int, stop: int
    ) -> list[T]:
        begin = time.perf_counter()
        encoded = encode(self.tokenizer, start, stop)
        self.usage.tokenization_s += time.perf_counter() - begin
        return encoded

    def _run(
        self, chunks: Iterator[_Chunk[T]], count: int, progress: Progress
    ) -> Iterator[tuple[_Chunk[T], int, Array]]:
        """(chunk, index of the encoding in it, answer), the engine being one batch ahead."""
        started: deque[_Started[T]] = deque()
        try:
            for chunk in chunks:
                self.usage.lengths += chunk.lengths
                for indices in plan_batches(chunk.lengths, self.batch_tokens):
                    started.append(self._start(chunk, indices))
                    if len(started) > self.engine.ahead:
                        yield from self._take(started.popleft(), count, progress)
            while started:
                yield from self._take(started.popleft(), count, progress)
        finally:
            # The caller has had enough, or something failed: what runs must not stay behind.
            for batch in started:
                with contextlib.suppress(Exception):
                    batch.answer()

    def _start(self, chunk: _Chunk[T], indices: NDArray[np.intp]) -> _Started[T]:
        first = self.engine.signature.first_position
        batch = pack([chunk.encodings[i] for i in indices], first_position=first)
        before = self.engine.busy_s
        answer = self.engine.submit(batch)
        self.usage.engine_s += self.engine.busy_s - before
        return _Started(chunk, indices, batch, answer)

    def _take(
        self, started: _Started[T], count: int, progress: Progress
    ) -> Iterator[tuple[_Chunk[T], int, Array]]:
        chunk, batch, signature = started.chunk, started.batch, self.engine.signature
        before = self.engine.busy_s
        answer = started.answer()[signature.output]
        self.usage.engine_s += self.engine.busy_s - before
        self.usage.sentences += batch.sentences
        self.usage.tokens += batch.tokens
        chunk.done += batch.tokens
        parts: Any = np.split(answer, batch.cu_seqlens[1:-1]) if signature.per_token else answer
        for index, part in zip(started.indices, parts, strict=True):
            yield chunk, int(index), part
        progress((chunk.start + chunk.done / sum(chunk.lengths) * len(chunk.items)) / count)
