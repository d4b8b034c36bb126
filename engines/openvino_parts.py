"""The parts of batches that run in this process, and when a new one may start."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.base import Engine
from xopt.engines.openvino_sizes import Feed
from xopt.engines.signature import TOKEN_WEIGHTS
from xopt.errors import InputError, UnsupportedError
from xopt.host import cpu_count, cpu_flags, cpu_flags_left, release_memory

__all__ = [
    "KEPT_KERNELS", "RUNNING", "Program", "RunningPart", "check_process", "kernel_of", "refused",
    "start",
]  # fmt: skip

# Of each kind, in OpenVINO's cache. A size needs at most 8 of a kind where layers share them.
KEPT_KERNELS = 1024
KEPT_SIZES = KEPT_KERNELS // 8
# The processes that have compiled a program: this one, or those that it was forked from.
_PROCESSES: set[int] = set()


def check_process() -> None:
    """Refuse a process that was forked from one in which a program was compiled.

    OpenVINO's threads stayed behind there, and the next program would wait for them for ever.

    Raises:
        InputError: it is such a process.
    """
    if _PROCESSES - {os.getpid()}:
        raise InputError(
            "This process was forked from one in which a model had answered; the engine's threads "
            "stayed behind.",
            hint='Start processes with multiprocessing.get_context("spawn"), or before the first '
            "model answers.",
        )


class Program:
    """A compiled model and its requests that are free.

    Attributes:
        model: ``openvino.CompiledModel``.
        threads: that it keeps busy at most.
        cores: that one request keeps busy.
        inputs: names of the arrays it reads.
        met: sizes for which its kernels are there, the one used last at the end.
    """

    def __init__(self, model: Any, threads: int, streams: int) -> None:
        self.model = model
        self.threads = threads
        self.cores = max(1, threads // streams)
        self.inputs = [port.get_any_name() for port in model.inputs]
        self.idle: list[Any] = []
        self.met: dict[int, None] = {}

    @classmethod
    def make(
        cls, core: Any, model: Any, config: Mapping[str, Any], threads: int, streams: int
    ) -> Program:
        """Compile ``model`` for the CPU.

        Raises:
            UnsupportedError: OpenVINO cannot run it here.
        """
        _PROCESSES.add(os.getpid())
        try:
            compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise refused(error) from error
        release_memory()
        return cls(compiled, threads, streams)

    def meet(self, sizes: Collection[int]) -> None:
        """Kernels for these sizes are there now, and those used longest ago may be gone."""
        for size in sizes:
            self.met.pop(size, None)
            self.met[size] = None
        for size in list(self.met)[:-KEPT_SIZES]:
            self.met.pop(size, None)

    def lacks(self, sizes: Collection[int]) -> set[int]:
        """Sizes for which it may have to make kernels."""
        return set(sizes) - self.met.keys()


def refused(error: Exception) -> UnsupportedError:
    """What OpenVINO says when it cannot run a bundle here, such as an instruction set."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    flags = ", ".join(cpu_flags_left()) or "no vector instruction set that decides INT8"
    return UnsupportedError(
        f"OpenVINO cannot run this bundle on this CPU ({flags}): {lines[-1] if lines else error}",
        hint=(
            "Unset ONEDNN_MAX_CPU_ISA, which withholds instructions of this CPU from OpenVINO."
            if set(cpu_flags()) - set(cpu_flags_left())
            else "Build it on this machine: xopt build CHECKPOINT --target cpu; or in another "
            "precision: --precision fp32"
        ),
    )


class RunningPart:
    """Sentences that run in one stream, from when they start until their answer is taken."""

    def __init__(
        self, engine: Engine, program: Program, request: Any, feed: Feed, tokens: int
    ) -> None:
        self.engine = engine
        self.program = program
        self.request = request
        # The request reads these arrays where they are.
        self.feed = feed
        self.tokens = tokens
        self.weights: NDArray[np.float32] | None = None
        self.begin = 0.0

    def take(self) -> NDArray[np.float32]:
        """Wait for the answer; its stream is free again."""
        self.wait()
        answer = np.array(self.request.get_output_tensor(0).data[: self.feed.rows], np.float32)
        if self.engine.signature.sparse:
            weights = self.request.get_tensor(TOKEN_WEIGHTS).data
            self.weights = np.array(weights[: self.tokens], np.float32)
        self.engine.count(self.begin, self.begin + self.request.latency / 1e3)
        self.program.idle.append(self.request)
        return answer

    def wait(self) -> None:
        """Until the part is done; its error is raised here, every time."""
        try:
            self.request.wait()
            if self.program.lacks(self.feed.sizes):
                # What was needed to make the kernels is as large as they are.
                release_memory()
            self.program.meet(self.feed.sizes)
        except RuntimeError as error:
            # A kernel is chosen when sizes are known, and there may be none here.
            if "[CPU]" not in str(error):
                raise
            raise refused(error) from error
        finally:
            # Not before it is done: until then another thread has to see that it runs.
            with contextlib.suppress(ValueError):
                RUNNING.remove(self)

    def drop(self) -> None:
        """Wait, if it runs, and give up its answer."""
        if self in RUNNING:
            self.settle()

    def settle(self) -> None:
        """Wait; whoever takes its answer hears of its error."""
        with contextlib.suppress(Exception):
            self.wait()


# Every part that runs in this process, whichever engine it belongs to, oldest first.
RUNNING: list[RunningPart] = []
# Held while a part is let in.
_START = threading.Lock()


def start(part: RunningPart) -> None:
    """Start a part as soon as nothing that runs is in its way."""
    with _START:
        _meet(part)
        _make_room(part)
        part.begin = time.perf_counter()
        RUNNING.append(part)
        try:
            part.request.start_async(part.feed.arrays, share_inputs=True)
        except BaseException:
            RUNNING.remove(part)
            raise


def _meet(part: RunningPart) -> None:
    """Wait for every running part that shares a size which is new to both.

    Two streams that make the same oneDNN primitive at the same moment may leave one of them
    with a primitive that lacks its activation: about 1 in 100 times for fp32 with GELU in
    OpenVINO 2026.4, and from then on for every batch of that size on that stream.
    """
    for other in list(RUNNING):
        if part.program.lacks(part.feed.sizes) & other.program.lacks(other.feed.sizes):
            other.settle()


def _make_room(part: RunningPart) -> None:
    """Wait, oldest first, for parts of other programs until the cores are enough for all.

    Parts of one program share its threads, which are never more than it was compiled for.
    """
    for other in list(RUNNING):
        busy = {part.program: 0}
        for running in (*RUNNING, part):
            program = running.program
            busy[program] = min(program.threads, busy.get(program, 0) + program.cores)
        if len(busy) == 1 or sum(busy.values()) <= max(part.program.threads, cpu_count()):
            return
        if other.program is not part.program:
            other.settle()


def kernel_of(info: Mapping[str, Any]) -> str:
    """What a node was compiled to, as ``brgemm_avx512_I8``.

    OpenVINO 2026.4.1 does not know the names that oneDNN has on CPUs with AMX
    (``brgemm:avx10_1_512_amx``), and calls those kernels ``undef_I8``, as if there were none.

    Args:
        info: of a node of the compiled model.
    """
    if "primitiveType" not in info:
        return "?"
    return str(info["primitiveType"].astype(str)).replace("undef_", "onednn_")
