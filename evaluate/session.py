"""An engine with its tokenizer: texts in, one answer per text out, in the order they were given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, open_engine
from xopt.packing import Encoding, pack, plan_batches
from xopt.tokenization import Tokenizer

__all__ = ["Session", "Usage"]

Array = NDArray[np.float32]
Encode = Callable[[Tokenizer, int, int], list[Encoding]]
EncodeParts = Callable[[Tokenizer, int, int], list[list[Encoding]]]
Progress = Callable[[float], None]
T = TypeVar("T")

_NOTHING: Array = np.empty((0, 0), np.float32)

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
        for start, encodings, share in self._chunks(count, encode):
            for index, answer in self._run(encodings, progress, share):
                yield start + index, encodings[index], answer

    def parts(
        self, count: int, encode: EncodeParts, *, progress: Progress = _unheard
    ) -> Iterator[tuple[int, list[Encoding], list[Array]]]:
        """As :meth:`answers`, for items of several encodings each: windows, or parts of a sentence.

        Yields:
            (index, encodings, answers) of each item, in order.
        """
        for start, items, share in self._chunks(count, encode):
            flat = [encoding for item in items for encoding in item]
            found: list[Array] = [_NOTHING] * len(flat)
            for index, answer in self._run(flat, progress, share):
                found[index] = answer
            place = 0
            for number, item in enumerate(items):
                yield start + number, item, found[place : place + len(item)]
                place += len(item)

    def rows(self, count: int, encode: Encode, *, progress: Progress = _unheard) -> Array:
        """``[count, width]``: as :meth:`answers`, for a head that answers per sentence."""
        table = np.empty((count, self.engine.signature.width), np.float32)
        for index, _, answer in self.answers(count, encode, progress=progress):
            table[index] = answer
        return table

    def _chunks(
        self, count: int, encode: Callable[[Tokenizer, int, int], list[T]]
    ) -> Iterator[tuple[int, list[T], Callable[[float], float]]]:
        """(first item, what was encoded, share of the chunk -> share of all), one chunk ahead."""
        starts = [0, *range(FIRST, count, CHUNK)]
        stops = [*starts[1:], count]
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self._encode, encode, 0, stops[0])
            for number, (start, following) in enumerate(zip(starts, stops, strict=True)):
                encoded = ahead.result()
                if following < count:
                    ahead = pool.submit(self._encode, encode, following, stops[number + 1])
                yield (
                    start,
                    encoded,
                    lambda done, a=start, b=following: (a + done * (b - a)) / count,  # type: ignore[misc]
                )

    def _encode(
        self, encode: Callable[[Tokenizer, int, int], list[T]], start: int, stop: int
    ) -> list[T]:
        begin = time.perf_counter()
        encoded = encode(self.tokenizer, start, stop)
        self.usage.tokenization_s += time.perf_counter() - begin
        return encoded

    def _run(
        self, encodings: Sequence[Encoding], progress: Progress, share: Callable[[float], float]
    ) -> Iterator[tuple[int, Array]]:
        signature = self.engine.signature
        lengths = [len(e) for e in encodings]
        done = 0
        for indices in plan_batches(lengths, self.batch_tokens):
            batch = pack([encodings[i] for i in indices], first_position=signature.first_position)
            begin = time.perf_counter() - self.engine.prepare_s
            answer = self.engine.run(batch)[signature.output]
            self.usage.engine_s += time.perf_counter() - self.engine.prepare_s - begin
            self.usage.sentences += batch.sentences
            self.usage.tokens += batch.tokens
            done += batch.tokens
            parts: Any = np.split(answer, batch.cu_seqlens[1:-1]) if signature.per_token else answer
            for index, part in zip(indices, parts, strict=True):
                yield int(index), part
            progress(share(done / sum(lengths)))
        self.usage.lengths += lengths
