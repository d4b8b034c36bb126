"""An engine with its tokenizer: encodings in, one answer per item out, the engine never waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import numpy as np

from xopt.artifacts import Bundle
from xopt.closing import Closing, closing_on_error
from xopt.engines.base import Engine, open_engine, plain_batch
from xopt.errors import InputError
from xopt.model.compact import open_compact
from xopt.model.few import open_few
from xopt.model.head import READS_PLACES
from xopt.model.process_lock import ProcessLock
from xopt.model.stream import (
    Array,
    Progress,
    answers_of,
    check_numbers,
    encode_ahead,
    ranges,
    run_chunks,
    share_of,
    unheard,
)
from xopt.model.texts import Row
from xopt.model.usage import Usage
from xopt.packing import Encoding, pack
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["BATCH_TOKENS", "Session", "Usage"]

Encode = Callable[[Tokenizer, int, int], list[Encoding]]
EncodeParts = Callable[[Tokenizer, int, int], list[list[Encoding]]]
J = TypeVar("J")
T = TypeVar("T")

# Most slots of a batch, tokens and padding together.
BATCH_TOKENS = 4096


class Session(Closing):
    """One open engine with the tokenizer that goes with it.

    Several threads may ask one session at a time: tokenizing and each call of the engine are done
    by one of them, the others wait.

    Args:
        engine: an open one; the session closes it.
        tokenizer: of the same bundle.
        batch_tokens: most slots of a batch, tokens and padding together.
        lengths: keep the length of every encoding in ``usage``, for reports.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        batch_tokens: int = BATCH_TOKENS,
        lengths: bool = True,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.usage = Usage()
        self.closed = False
        self._keeps_lengths = lengths
        self._engine_lock = ProcessLock()
        self._tokenizer_lock = ProcessLock()

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        batch_tokens: int = BATCH_TOKENS,
        lengths: bool = True,
        known: Sequence[Row] | None = None,
        **options: Any,
    ) -> Self:
        """Open a bundle, whose files are verified first.

        Args:
            bundle: what to open.
            batch_tokens: as above.
            lengths: as above.
            known: the rows that will be asked, where they are few and known, prompts included: then
                the first answer comes sooner.
            options: of :func:`~xopt.engines.base.open_engine`.
        """
        engine = open_engine(bundle, **options)
        if known is None:
            return cls.of(engine, batch_tokens=batch_tokens, lengths=lengths)
        with closing_on_error(engine), ThreadPoolExecutor(max_workers=1) as pool:
            # The engine makes its first program while the tokenizer is read, which lets no other
            # thread run for a while: what the engine does in Python comes before.
            engine.prepare()
            ready = pool.submit(_warm, engine, len(known))
            path = bundle.folder / "tokenizer.json"
            texts = [text for row in known for text in (row.first, row.pair) if text is not None]
            tokenizer = open_few(path, TextSpec.read(bundle.manifest), texts)
            ready.result()
        return cls(engine, tokenizer, batch_tokens=batch_tokens, lengths=lengths)

    @classmethod
    def of(cls, engine: Engine, *, batch_tokens: int = BATCH_TOKENS, lengths: bool = True) -> Self:
        """An open engine with its bundle's tokenizer; it is closed where that cannot be read."""
        with closing_on_error(engine):
            path, manifest = engine.bundle.folder / "tokenizer.json", engine.bundle.manifest
            reads_places = manifest["head"]["kind"] in READS_PLACES
            tokenizer = (Tokenizer.open if reads_places else open_compact)(
                path, TextSpec.read(manifest)
            )
        return cls(engine, tokenizer, batch_tokens=batch_tokens, lengths=lengths)

    @property
    def bundle(self) -> Bundle:
        """What was opened."""
        return self.engine.bundle

    def warm_up(self) -> None:
        """Prepare the engine; see :meth:`~xopt.engines.base.Engine.warm_up`.

        Raises:
            InputError: the session is closed.
            UnsupportedError: there is no memory for all that batches may need.
        """
        with self._engine_lock:
            self._check_open()
            self.engine.warm_up()

    def close(self) -> None:
        """Close the engine; a second time, or in a fork, does nothing."""
        if self._engine_lock.forked:
            return
        with self._engine_lock:
            if not self.closed:
                self.closed = True
                self.engine.close()

    def answers(
        self, count: int, encode: Encode, *, progress: Progress = unheard
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
        chunks = encode_ahead(
            self, ranges(count), lambda t, job: [[encoding] for encoding in encode(t, *job)]
        )
        shares = share_of(count, progress)
        for chunk, index, answer in run_chunks(self, chunks, self.batch_tokens, shares):
            check_numbers(f"Example {chunk.job[0] + index}", [answer])
            yield chunk.job[0] + index, chunk.encodings[index], answer

    def parts(
        self, count: int, encode: EncodeParts, *, progress: Progress = unheard
    ) -> Iterator[tuple[int, list[Encoding], list[Array]]]:
        """As :meth:`answers`, for items of one encoding or more: windows, or parts of a sentence.

        Yields:
            (index, encodings, answers) of each item, in order.
        """
        shares = share_of(count, progress)
        for (start, _), items, answers in self.chunks(
            ranges(count), lambda t, job: encode(t, *job), progress=shares
        ):
            for number, (item, answer) in enumerate(zip(items, answers, strict=True)):
                check_numbers(f"Example {start + number}", answer)
                yield start + number, item, answer

    def rows(self, count: int, encode: Encode, *, progress: Progress = unheard) -> Array:
        """``[count, width]``: as :meth:`answers`, for a head that answers per sentence."""
        table = np.empty((count, self.engine.signature.width), np.float32)
        for index, _, answer in self.answers(count, encode, progress=progress):
            table[index] = answer
        return table

    def chunks(
        self,
        jobs: Iterable[J],
        encode: Callable[[Tokenizer, J], list[list[Encoding]]],
        *,
        batch_tokens: int | None = None,
        progress: Callable[[J, float], None] = lambda job, share: None,
        weights: bool = False,
    ) -> Iterator[tuple[J, Sequence[list[Encoding]], list[list[Array]]]]:
        """Answer an endless row of jobs, each a bounded number of items.

        The next job is read and encoded in a thread of its own, and the engine has its first batch
        before the last of this one is taken. Batches never hold encodings of two jobs, so that the
        answers of a job are the same whatever stands around it.

        Args:
            jobs: read one at a time, one ahead.
            encode: ``encode(tokenizer, job)`` gives one encoding or more of each item.
            batch_tokens: most slots of a batch; the session's own number if None.
            progress: told the share of a job that is done.
            weights: an answer is an embedding with the weights of its tokens behind it.

        Yields:
            (job, encodings, answers), both one list for each item, in order.

        Raises:
            InputError: ``batch_tokens`` is below 1.
        """
        most = self.batch_tokens if batch_tokens is None else batch_tokens
        if not isinstance(most, int) or most < 1:
            raise InputError(f"--batch-tokens (batch_tokens=) is {most!r}; at least 1 is needed.")
        encoded = encode_ahead(self, jobs, encode)
        found: dict[int, Array] = {}
        for chunk, index, answer in run_chunks(self, encoded, most, progress, weights=weights):
            if index >= 0:
                found[index] = answer
            if len(found) < len(chunk.encodings):
                continue
            flat = iter([found[i] for i in range(len(chunk.encodings))])
            found = {}
            yield chunk.job, chunk.items, [[next(flat) for _ in item] for item in chunk.items]

    def encode(self, work: Callable[[Tokenizer], T]) -> T:
        """What ``work`` makes of the tokenizer, while no other thread uses it."""
        with self._tokenizer_lock:
            begin = time.perf_counter()
            encoded = work(self.tokenizer)
            self.usage.tokenization_s += time.perf_counter() - begin
        return encoded

    @property
    def ahead(self) -> int:
        """Batches that are worth starting before the answer of the first is taken."""
        return self.engine.ahead

    @property
    def lanes(self) -> int:
        """Batches that run side by side at their best, each on its share of the machine."""
        return self.engine.lanes

    def start(
        self, encodings: Sequence[Encoding], *, weights: bool = False, beside: bool = False
    ) -> Callable[[], list[Array]]:
        """Start one batch of them; what is returned waits for the answer of each.

        An answer is as :func:`~xopt.model.stream.answers_of` says; ``beside`` leaves the rest of
        the machine to the batches in the other ``lanes``.

        Raises:
            InputError: the session is closed, now or when the answer is taken.
        """
        signature = self.engine.signature
        replaced = sum(encoding.replaced for encoding in encodings)
        batch = pack(encodings, first_position=signature.first_position)
        with self._engine_lock:
            self._check_open()
            before = self.engine.busy_s
            pending = self.engine.submit(batch, beside=beside)
            self.usage.engine_s += self.engine.busy_s - before
            if self._keeps_lengths:
                self.usage.lengths += batch.lengths.tolist()

        def answer() -> list[Array]:
            # Meanwhile other threads start batches, and take their answers.
            pending.settle()
            with self._engine_lock:
                self._check_open()
                before = self.engine.busy_s
                found = pending()
                self.usage.engine_s += self.engine.busy_s - before
                self.usage.sentences += batch.sentences
                self.usage.tokens += batch.tokens
                self.usage.replaced += replaced
            return answers_of(found, signature, batch.cu_seqlens, weights=weights)

        return answer

    def _check_open(self) -> None:
        if self.closed:
            raise InputError("This model is closed.", hint="Open it again with xopt.load(PATH).")


def _warm(engine: Engine, sentences: int) -> None:
    """Answer one sentence, or two of unlike lengths, so that the program for them is there."""
    engine.run(plain_batch([2] if sentences == 1 else [2, 3], engine.signature))
