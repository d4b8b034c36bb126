"""An engine with its tokenizer: texts in, one answer per text out, in the order they were given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, open_engine
from xopt.packing import Encoding, pack, plan_batches
from xopt.tokenization import Tokenizer

__all__ = ["Session", "Usage"]

Array = NDArray[np.float32]
Encode = Callable[[Tokenizer, int, int], list[Encoding]]

# Texts tokenized at a time, while the engine answers the ones before.
CHUNK = 2048


@dataclass
class Usage:
    """What a session has done so far; seconds of wall time."""

    sentences: int = 0
    tokens: int = 0
    engine_s: float = 0.0
    tokenization_s: float = 0.0
    lengths: list[int] = field(default_factory=list)


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
        self,
        count: int,
        encode: Encode,
        *,
        progress: Callable[[float], None] = lambda share: None,
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
        with ThreadPoolExecutor(max_workers=1) as pool:
            starts = list(range(0, count, CHUNK))
            ahead = pool.submit(self._encode, encode, 0, min(CHUNK, count)) if starts else None
            for start in starts:
                assert ahead is not None
                encodings = ahead.result()
                following = start + CHUNK
                if following < count:
                    stop = min(following + CHUNK, count)
                    ahead = pool.submit(self._encode, encode, following, stop)
                for index, encoding, answer in self._chunk(encodings):
                    yield start + index, encoding, answer
                progress(min(following, count) / count)

    def rows(
        self,
        count: int,
        encode: Encode,
        *,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Array:
        """``[count, width]``: as :meth:`answers`, for a head that answers per sentence."""
        table = np.empty((count, self.engine.signature.width), np.float32)
        for index, _, answer in self.answers(count, encode, progress=progress):
            table[index] = answer
        return table

    def _encode(self, encode: Encode, start: int, stop: int) -> list[Encoding]:
        begin = time.perf_counter()
        encodings = encode(self.tokenizer, start, stop)
        self.usage.tokenization_s += time.perf_counter() - begin
        return encodings

    def _chunk(self, encodings: Sequence[Encoding]) -> Iterator[tuple[int, Encoding, Array]]:
        signature = self.engine.signature
        lengths = [len(e) for e in encodings]
        for indices in plan_batches(lengths, self.batch_tokens):
            batch = pack([encodings[i] for i in indices], first_position=signature.first_position)
            begin = time.perf_counter()
            answer = self.engine.run(batch)[signature.output]
            self.usage.engine_s += time.perf_counter() - begin
            self.usage.sentences += batch.sentences
            self.usage.tokens += batch.tokens
            parts = np.split(answer, batch.cu_seqlens[1:-1]) if signature.per_token else answer
            for index, part in zip(indices, parts, strict=True):
                yield int(index), encodings[index], part
        self.usage.lengths += lengths
