"""Jobs in, answers out in the same order: the next job is encoded and started meanwhile."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from xopt.engines.signature import TOKEN_WEIGHTS, Signature
from xopt.errors import BuildError
from xopt.packing import Encoding, plan_batches
from xopt.tokenization import Tokenizer

__all__ = [
    "Answering", "Array", "Chunk", "Progress", "answers_of", "check_numbers", "encode_ahead",
    "ranges", "run_chunks", "share_of", "unheard",
]  # fmt: skip

Array = NDArray[np.float32]
Progress = Callable[[float], None]
J = TypeVar("J")

# Texts tokenized at a time, while the engine answers the ones before.
CHUNK = 2048
# The engine waits for the first of them only.
FIRST = 256


class Answering(Protocol):
    """What encodes and what answers; a :class:`~xopt.model.session.Session` is both."""

    @property
    def ahead(self) -> int:
        """Batches that are worth starting before the answer of the first is taken."""
        ...

    def encode(self, work: Callable[[Tokenizer], Any]) -> Any:
        """What ``work`` makes of the tokenizer."""
        ...

    def start(
        self, encodings: Sequence[Encoding], *, weights: bool = False
    ) -> Callable[[], list[Array]]:
        """Start one batch; what is returned waits for the answer of each encoding."""
        ...


@dataclass
class Chunk(Generic[J]):
    """A job whose items were encoded together: one encoding or more of each."""

    job: J
    items: Sequence[list[Encoding]]
    done: int = 0

    def __post_init__(self) -> None:
        self.encodings = [encoding for item in self.items for encoding in item]
        self.lengths = [len(encoding) for encoding in self.encodings]
        self.tokens = sum(self.lengths)


@dataclass(frozen=True)
class _Started(Generic[J]):
    """A batch that the engine has begun."""

    chunk: Chunk[J]
    indices: NDArray[np.intp]
    answer: Callable[[], list[Array]]


def encode_ahead(
    session: Answering,
    jobs: Iterable[J],
    encode: Callable[[Tokenizer, J], list[list[Encoding]]],
) -> Iterator[Chunk[J]]:
    """Each job encoded, the next one being read and encoded meanwhile in a thread of its own."""
    waiting = iter(jobs)

    def step() -> Chunk[J] | None:
        try:
            job = next(waiting)
        except StopIteration:
            return None
        return Chunk(job, session.encode(lambda tokenizer: encode(tokenizer, job)))

    with ThreadPoolExecutor(max_workers=1) as pool:
        chunk = step()
        while chunk is not None:
            ahead = pool.submit(step)
            yield chunk
            chunk = ahead.result()


def run_chunks(
    session: Answering,
    chunks: Iterator[Chunk[J]],
    batch_tokens: int,
    progress: Callable[[J, float], None],
    *,
    weights: bool = False,
) -> Iterator[tuple[Chunk[J], int, Array]]:
    """(chunk, index of the encoding in it, answer), the engine being ``ahead`` batches ahead.

    Batches never hold encodings of two chunks; ``weights`` as in :func:`answers_of`. A
    chunk without any gives the index -1, once.
    """
    started: deque[_Started[J]] = deque()

    def take() -> Iterator[tuple[Chunk[J], int, Array]]:
        first = started.popleft()
        chunk = first.chunk
        for index, part in zip(first.indices, first.answer(), strict=True):
            chunk.done += chunk.lengths[index]
            yield chunk, int(index), part
        progress(chunk.job, chunk.done / chunk.tokens)

    try:
        for chunk in chunks:
            for indices in plan_batches(chunk.lengths, batch_tokens):
                asked = [chunk.encodings[i] for i in indices]
                answer = session.start(asked, weights=weights)
                started.append(_Started(chunk, indices, answer))
                if len(started) > session.ahead:
                    yield from take()
            if not chunk.lengths:
                while started:
                    yield from take()
                yield chunk, -1, np.empty(0, np.float32)
        while started:
            yield from take()
    finally:
        # The caller has had enough, or something failed: what runs must not stay behind.
        for batch in started:
            with contextlib.suppress(Exception):
                batch.answer()


def answers_of(
    found: Mapping[str, NDArray[Any]], signature: Signature, starts: NDArray[np.int32], *,
    weights: bool,
) -> list[Array]:  # fmt: skip
    """The answer of each encoding: ``[width]``, or ``[n, width]`` of a head per token.

    Args:
        found: what the engine gave for a batch.
        signature: of the engine.
        starts: where each encoding's tokens start, and where the last one ends.
        weights: ``[width + n]`` instead, the weights of its n tokens behind its embedding.
    """
    values = found[signature.output]
    if signature.per_token:
        return np.split(values, starts[1:-1])
    if not weights:
        return list(values)
    beside = np.split(found[TOKEN_WEIGHTS][:, 0], starts[1:-1])
    return [np.concatenate(both) for both in zip(values, beside, strict=True)]


def check_numbers(name: str, values: Sequence[Array]) -> None:
    """Refuse an answer that is none.

    Raises:
        BuildError: the engine answered with NaN or infinity.
    """
    if not all(np.isfinite(part).all() for part in values):
        raise BuildError(
            f"{name}: the engine answered with values that are no numbers.",
            hint="An fp32 bundle may answer it: xopt build CHECKPOINT --precision fp32. If that is "
            "one, leave the text out: the checkpoint itself may go beyond fp32 there.",
        )


def ranges(count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each chunk of a list of ``count`` items."""
    starts = [0, *range(FIRST, count, CHUNK)]
    return zip(starts, [*starts[1:], count], strict=True) if count else iter(())


def share_of(count: int, progress: Progress) -> Callable[[tuple[int, int], float], None]:
    """What tells ``progress`` the share of all items, from a chunk and the share of it."""
    return lambda job, share: progress((job[0] + share * (job[1] - job[0])) / count)


def unheard(share: float) -> None:
    """Progress that nobody watches."""
