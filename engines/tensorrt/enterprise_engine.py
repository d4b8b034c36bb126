"""Running an engine of TensorRT proper: sessions for the threads that run, CUDA graphs."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.tensorrt.compat import RunsOn, this_machine
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.filling import Sizes, bucket_of, fill
from xopt.engines.tensorrt.pool import SessionPool
from xopt.engines.tensorrt.profiles import choose_profile, split_batch
from xopt.engines.tensorrt.runtime import (
    describe_profiles,
    quiet_logger,
    read_engine,
    read_facts,
)
from xopt.engines.tensorrt.sessions import Session
from xopt.errors import ArtifactError, InputError, require
from xopt.packing import PackedBatch

__all__ = ["EnterpriseEngine"]


class EnterpriseEngine(Engine):
    """A deserialized engine on one GPU; any number of threads may ask it at the same time.

    Args:
        bundle: of the target ``tensorrt``.
        device: which GPU, as the driver counts them.
        programs: most shapes of batch that a session keeps memory and CUDA graphs for.
        sessions: most batches that run at the same time; each takes its memory on the GPU.
        driver: the driver's library; a fake in tests.
    """

    name = "tensorrt"
    extra = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: int = 0,
        programs: int = 32,
        sessions: int = 4,
        driver: Any = None,
    ) -> None:
        super().__init__(bundle)
        for name, number in (("programs", programs), ("sessions", sessions)):
            if number < 1:
                raise InputError(f"{name} is {number}; at least 1 is needed.")
        facts, self.profiles, self.inputs = read_facts(bundle)
        self.runs_on = RunsOn.read(facts)
        trt = require("tensorrt", extra=self.extra, why="Running this bundle")
        self._number, self._driver = device, driver
        # Stays open: with the last device the GPU would forget the engine.
        self.device = Device(device, driver)
        self.machine = this_machine("tensorrt", trt.__version__, self.device)
        self.runs_on.check(self.machine)
        self.trt, self.bound = trt, programs
        self.runtime: Any = None
        self.engine: Any = None
        self._making = threading.Lock()
        self.pool = SessionPool(self._opened, sessions)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.device.enter()
        self.runtime = self.trt.Runtime(quiet_logger(self.trt))
        # A version-compatible engine brings code of its own, which TensorRT runs only if told to.
        self.runtime.engine_host_code_allowed = self.runs_on.later
        self.engine = self.runtime.deserialize_cuda_engine(read_engine(self.bundle))
        if self.engine is None:
            raise ArtifactError(
                f"TensorRT {self.machine.version} does not read the engine of "
                f"{self.bundle.folder}.",
                hint="Its messages are above. Build it again on this machine.",
            )

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """Groups that each fit a profile."""
        return split_batch(self.profiles, batch)

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        number = choose_profile(self.profiles, part)
        assert number is not None
        begin = time.perf_counter()
        padded = "pad_index" in self.inputs
        sizes = bucket_of(part, self.profiles[number], padded=padded)
        arrays = self._arrays(part, sizes)
        rows = sizes.tokens if self.signature.per_token else sizes.sentences
        shape = (rows, self.signature.width)
        answer = np.empty(self._shape(part), np.float32)
        with self.pool.session() as session:
            prepared = session.run(number, arrays, self.signature.output, shape, answer)
        if prepared:
            self.prepare_s += time.perf_counter() - begin
        return answer

    def _arrays(self, batch: PackedBatch, sizes: Sizes) -> dict[str, NDArray[Any]]:
        """What the graph reads, filled up to ``sizes``."""
        whole = tensorrt_arrays(batch)
        return fill({name: whole[name] for name in self.inputs}, batch, sizes)

    def _opened(self) -> Session:
        """A session with a stream of its own."""
        device = Device(self._number, self._driver)
        return Session(self.trt, self.engine, device, self.bound, self._making)

    def close(self) -> None:
        """Free the memory of every session; none may be running."""
        self.pool.close()
        self.engine = self.runtime = None
        self.device.close()

    def describe(self) -> dict[str, Any]:
        """GPU, versions, profiles, and the shapes that run as CUDA graphs."""
        programs = [p for session in self.pool.sessions for p in session.programs.values()]
        return {
            "engine": self.name,
            "device": self.machine.gpu,
            "tensorrt": self.machine.version,
            "runs_on": self.runs_on.describe(),
            "profiles": describe_profiles(self.profiles),
            "graphs": sum(program.graph is not None for program in programs),
        }
