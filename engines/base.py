"""The contract of every engine, and the table of those there are."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.closing import Closing
from xopt.engines.part import Arrays, Done, Part, Pending, drop
from xopt.engines.signature import TOKEN_WEIGHTS, Signature
from xopt.errors import ArtifactError, InputError, MissingExtraError, UnsupportedError, XoptError
from xopt.forms import reads
from xopt.packing import Encoding, PackedBatch, pack
from xopt.registry import Registry

__all__ = ["ENGINES", "PREDICTABLE", "Engine", "Part", "Signature", "open_engine", "plain_batch"]


class Engine(Closing):
    """An open session over a bundle; a context manager.

    A subclass writes ``_run`` and ``close``; one that runs a large batch in parts writes ``plan``,
    and one that works in the background writes ``_start`` too. Names, types and ranges are checked
    first, because a native library may crash where Python would complain. Arrays that are returned
    belong to the caller. One engine serves one thread at a time.

    Attributes:
        prepare_s: seconds that were spent on programs; later batches find them ready.
        busy_s: seconds during which at least one batch was being answered. A second that two
            batches share counts once. ``prepare_s`` is not part of it.
    """

    name = "engine"
    # Whether another engine answers in the place of the bundle's own.
    predicted = False
    # Batches that are worth starting before the answer of the first is taken.
    ahead = 0

    @property
    def lanes(self) -> int:
        """Batches that run side by side at their best, each on its share of the machine."""
        return 1

    @classmethod
    def load_library(cls) -> None:
        """Load what the engine needs whatever the bundle is, while that is verified.

        Raises:
            XoptError: it cannot be had; opening the engine says so again.
        """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        with reads(f"{bundle.folder}: its manifest has no usable signature"):
            self.signature = Signature.read(bundle.manifest)
        self.prepare_s = 0.0
        self.busy_s = 0.0
        self._busy_until = 0.0

    def prepare(self) -> None:
        """Do the part of the first program that holds the interpreter, so that none waits for it.

        Whoever compiles in a thread calls this first; the first batch does it otherwise.
        """

    def warm_up(self) -> None:
        """Prepare what batches will need, so that none waits for it; whoever serves calls this.

        Here the programs of a text alone, of like lengths and of ragged ones.

        Raises:
            UnsupportedError: there is no memory for all of it.
        """
        lengths = [n for n in WARM_LENGTHS if n <= self.signature.max_tokens]
        for group in (lengths[:1], lengths[:1] * 2, lengths, lengths * 4) if lengths else ():
            self.run(plain_batch(group, self.signature))

    def run(self, batch: PackedBatch) -> Arrays:
        """Answer a packed batch.

        Returns:
            ``{output: [B, width]}`` or ``{output: [T, width]}``, float32; with a sparse head
            :data:`~xopt.engines.signature.TOKEN_WEIGHTS` too.

        Raises:
            InputError: a sentence is longer than the encoder takes, or an id is out of range.
        """
        return self.submit(batch)()

    def submit(self, batch: PackedBatch, *, beside: bool = False) -> Pending:
        """Start a batch; what is returned waits for its answer, and is called once.

        ``ahead`` batches may be submitted before the first answer is taken: an engine that works
        in the background then never waits for its caller. Answers may be taken in any order.

        Args:
            batch: as :meth:`run` takes it.
            beside: leave the rest of the machine to the batches in the other ``lanes``.

        Raises:
            InputError: as in :meth:`run`.
        """
        self.signature.check(batch)
        return self._submit(batch, None, beside=beside)

    def run_into(self, batch: PackedBatch, answer: NDArray[np.float32]) -> None:
        """Answer a packed batch into the caller's own array.

        Args:
            batch: as :meth:`run` takes it.
            answer: ``[B, width]`` or ``[T, width]`` float32, contiguous; filled.

        Raises:
            InputError: as in :meth:`run`, or the array has another shape, type or layout.
        """
        self.signature.check(batch)
        expected = self._shape(batch)
        if answer.shape != expected or answer.dtype != np.float32:
            raise InputError(
                f"The array for the answer is {answer.dtype} {list(answer.shape)}; it must be "
                f"float32 {list(expected)}."
            )
        if not answer.flags.c_contiguous or not answer.flags.writeable:
            raise InputError("The array for the answer must be contiguous and writeable.")
        self._submit(batch, answer)()

    def _submit(
        self, batch: PackedBatch, into: NDArray[np.float32] | None, *, beside: bool = False
    ) -> Pending:
        """Start every part of a checked batch; what is returned gathers their answers."""
        alone = beside and self.lanes > 1
        groups = [np.arange(batch.sentences)] if alone else self.plan(batch)
        whole = len(groups) == 1
        sharing = self.lanes if alone else len(groups)
        parts: list[Part] = []
        try:
            for group in groups:
                parts.append(self._start(batch if whole else batch.select(group), sharing))
        except BaseException:
            drop(parts)
            raise

        def answer() -> Arrays:
            if whole and into is None:
                values = self._take(parts[0], self._shape(batch))
                return {self.signature.output: values} | self._weights(batch, groups, parts)
            found = np.empty(self._shape(batch), np.float32) if into is None else into
            try:
                for group, part in zip(groups, parts, strict=True):
                    if whole:
                        found[:] = self._take(part, found.shape)
                        break
                    place = batch.token_index(group) if self.signature.per_token else group
                    found[place] = self._take(part, (len(place), found.shape[1]))
            finally:
                drop(parts)
            return {self.signature.output: found} | self._weights(batch, groups, parts)

        return Pending(parts, answer)

    def _weights(
        self, batch: PackedBatch, groups: Sequence[NDArray[np.intp]], parts: Sequence[Part]
    ) -> Arrays:
        """The second output of a sparse head, of parts that were taken; else nothing."""
        if not self.signature.sparse:
            return {}
        found = np.empty((batch.tokens, 1), np.float32)
        for group, part in zip(groups, parts, strict=True):
            found[batch.token_index(group)] = part.weights
        return {TOKEN_WEIGHTS: found}

    def _shape(self, batch: PackedBatch) -> tuple[int, int]:
        rows = batch.tokens if self.signature.per_token else batch.sentences
        return rows, self.signature.width

    def _take(self, part: Part, shape: tuple[int, ...]) -> NDArray[np.float32]:
        found = part.take()
        if found.shape != shape:
            raise ArtifactError(
                f"{self.name} answered {list(found.shape)}, not {list(shape)} as the bundle's "
                "manifest says: its files do not belong together.",
                hint="Copy the bundle again, or build it again: xopt build CHECKPOINT",
            )
        return found

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """The sentences of a checked batch in groups that each run as one; here all in one."""
        return [np.arange(batch.sentences)]

    def _start(self, part: PackedBatch, parts: int) -> Part:
        """Start a part of a batch; one in the background calls :meth:`count` when it is done.

        Args:
            part: a group of :meth:`plan`, or the batch itself if that is one group.
            parts: that the machine is shared by.
        """
        begin, prepared = time.perf_counter(), self.prepare_s
        answer = self._run(part)
        self.count(begin + self.prepare_s - prepared, time.perf_counter())
        return Done(answer)

    @abstractmethod
    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        """The answer to a part of a batch, a new array."""

    def count(self, begin: float, end: float) -> None:
        """Add the time from ``begin`` to ``end``, read of ``perf_counter``, to ``busy_s``."""
        self.busy_s += max(0.0, end - max(begin, self._busy_until))
        self._busy_until = max(end, self._busy_until)

    @property
    def form(self) -> str:
        """Which form answers here, where an engine has several that round otherwise; else empty."""
        return ""

    def close(self) -> None:
        """Release what the native library holds."""

    def describe(self) -> dict[str, Any]:
        """Facts on the open session that ``xopt inspect`` shows."""
        return {"engine": self.name}


ENGINES: Registry[type[Engine]] = Registry(
    "target",
    {
        "openvino": "xopt.engines.openvino:OpenVinoEngine",
        "cuda": "xopt.engines.cuda:CudaEngine",
        "tensorrt": "xopt.engines.tensorrt.runtime:TensorRtEngine",
        "tensorrt-rtx": "xopt.engines.tensorrt.rtx:RtxEngine",
        "torch-tensorrt": "xopt.engines.torch_tensorrt:TorchTensorRtEngine",
        "portable": "xopt.engines.tensorrt.portable:PortableEngine",
        "null": "xopt.engines.null:NullEngine",
    },
)

# Tokens of the texts that an engine is warmed up with.
WARM_LENGTHS = (8, 16, 24, 32)


def plain_batch(lengths: Sequence[int], signature: Signature) -> PackedBatch:
    """A batch of texts of these lengths, which say nothing."""
    encodings = [Encoding(np.zeros(n, np.int32), np.zeros(n, np.int32)) for n in lengths]
    return pack(encodings, first_position=signature.first_position)


# Targets whose bundles carry a graph that the CPU can answer from.
PREDICTABLE = ("tensorrt", "tensorrt-rtx")


def open_engine(bundle: Bundle, *, predict: bool = False, **options: Any) -> Engine:
    """Verify a bundle's files, then open its engine.

    Args:
        bundle: what to open.
        predict: where the bundle's own engine cannot run, answer from its portable graph on the
            CPU; the engine's ``predicted`` says so.
        options: of the engine.

    Raises:
        ArtifactError: a file differs from what was built.
        InputError: the bundle names an engine this xopt does not have.
        UnsupportedError: this machine cannot run it.
        MissingExtraError: its library is not installed.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        verified = pool.submit(bundle.verify)
        # What is wrong with the library is told by the engine, after what is wrong with the bundle.
        with contextlib.suppress(XoptError):
            ENGINES.resolve(bundle.target).load_library()
        verified.result()
    try:
        return ENGINES.resolve(bundle.target)(bundle, **options)
    except (UnsupportedError, MissingExtraError):
        if not (predict and bundle.target in PREDICTABLE):
            raise
    return ENGINES.resolve("portable")(bundle)
