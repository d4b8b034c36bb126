"""Running an engine of TensorRT: sessions for the threads that run, programs for what they run."""

from __future__ import annotations

import hashlib
import threading
import time
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, plain_batch
from xopt.engines.tensorrt.compat import RunsOn, this_machine
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.feeds import described, input_names, tensorrt_arrays
from xopt.engines.tensorrt.filling import Sizes, bucket_of, fill
from xopt.engines.tensorrt.pool import SessionPool
from xopt.engines.tensorrt.profiles import LengthProfile, choose_profile, split_batch
from xopt.engines.tensorrt.sessions import Session
from xopt.errors import ArtifactError, InputError, UnsupportedError, require
from xopt.packing import PackedBatch

__all__ = ["ENGINE", "TensorRtEngine", "quiet_logger"]

# The engine's file in its bundle.
ENGINE = "engine.trt"


class TensorRtEngine(Engine):
    """A deserialized engine on one GPU; any number of threads may ask it at the same time.

    Batches beyond the largest profile run in parts.

    Args:
        bundle: of a TensorRT target.
        device: which GPU, as the driver counts them.
        programs: most shapes of batch that a session keeps memory and CUDA graphs for.
        sessions: most batches that run at the same time; each takes its memory on the GPU.
        driver: the driver's library; a fake in tests.
    """

    name = "tensorrt"
    module = "tensorrt"
    extra = "tensorrt"
    # Whether each of the few shapes that batches are filled up to has a CUDA graph of xopt's own.
    graphs = True

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
        with described(bundle):
            facts = bundle.manifest["engine"]
            self.profiles = [LengthProfile(**profile) for profile in facts["profiles"]]
        self.inputs = input_names(bundle)
        self.runs_on = RunsOn.read(facts)
        self.trt = require(self.module, extra=self.extra, why="Running this bundle")
        self._number, self._driver, self._bound = device, driver, programs
        # Stays open: with the last device the GPU would forget the engine.
        self.device = Device(device, driver)
        self.machine = this_machine(self.module, self.trt.__version__, self.device)
        self.runs_on.check(self.machine)
        self.runtime: Any = None
        self.engine: Any = None
        self.making = threading.Lock()
        self.pool = SessionPool(self._opened, sessions)
        try:
            self.device.enter()
            self._open(read_engine(bundle))
        except BaseException:
            self.close()
            raise

    def _open(self, plan: bytes) -> None:
        """Make the runtime and the engine."""
        self.runtime = self.trt.Runtime(quiet_logger(self.trt))
        # A version-compatible engine brings code of its own, which TensorRT runs only if told to.
        if self.runs_on.later:
            self.runtime.engine_host_code_allowed = True
        self._check_plan(plan)
        self.engine = self.made(self.runtime.deserialize_cuda_engine(plan), "engine of these bytes")

    def _check_plan(self, plan: bytes) -> None:
        """Refuse what the library says that it cannot run; TensorRT itself does not say."""

    def made(self, made: Any, what: str) -> Any:
        """What the library made.

        Raises:
            UnsupportedError: it made nothing.
        """
        if made is None:
            raise UnsupportedError(
                f"{self.machine.library} {self.machine.version} made no {what} on "
                f"{self.machine.gpu}, for {self.bundle.folder}.",
                hint="Its messages are above. Most often the GPU's memory is full; else build the "
                "bundle again on this machine.",
            )
        return made

    def context(self) -> Any:
        """A new execution context, which is then given its scratch memory."""
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self.making:
            context = self.engine.create_execution_context(strategy)
        return self.made(context, "execution context")

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
            self._prepared()
        return answer

    def warm_up(self) -> None:
        """Run a full batch of every profile, which may compile its kernels, then small ones."""
        for profile in self.profiles:
            most = min(profile.sentences, profile.tokens // profile.longest)
            self.run(plain_batch([profile.longest] * most, self.signature))
        super().warm_up()

    def _arrays(self, batch: PackedBatch, sizes: Sizes) -> dict[str, NDArray[Any]]:
        """What the graph reads, filled up to ``sizes``."""
        whole = tensorrt_arrays(batch, self.signature.window)
        return fill({name: whole[name] for name in self.inputs}, batch, sizes)

    def _prepared(self) -> None:
        """A program was prepared; what the library compiled for it exists now."""

    def _opened(self) -> Session:
        """A session with a stream of its own."""
        device = Device(self._number, self._driver)
        scratch = int(self.engine.device_memory_size_v2)
        return Session(self.context, device, scratch, self._bound if self.graphs else None)

    def close(self) -> None:
        """Free the memory of every session; none may be running."""
        self.pool.close()
        self.engine = self.runtime = None
        self.device.close()

    def describe(self) -> dict[str, Any]:
        """GPU, version, profiles, and the shapes that run as CUDA graphs."""
        programs = [p for session in self.pool.sessions for p in session.programs.values()]
        return {
            "engine": self.name,
            "device": self.machine.gpu,
            "sm": self.machine.sm,
            "version": self.machine.version,
            "runs_on": self.runs_on.describe(),
            "profiles": [
                f"up to {p.longest} tokens, {p.sentences} sentences" for p in self.profiles
            ],
            "graphs": sum(program.graph is not None for program in programs),
        }


def read_engine(bundle: Bundle) -> bytes:
    """The engine's bytes, the same that their checksum was taken of.

    Raises:
        ArtifactError: they are not the bytes that were built.
    """
    path = bundle.folder / ENGINE
    expected = bundle.manifest["files"].get(ENGINE, {}).get("sha256")
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtifactError(
            f"{path} is not the file that was built (its sha256 differs).",
            hint=f"Copy the bundle again, or rebuild it with: "
            f"xopt build CHECKPOINT --target {bundle.target}",
        )
    return content


def quiet_logger(trt: ModuleType) -> Any:
    """A logger that shows warnings and errors alone."""
    return trt.Logger(trt.Logger.WARNING)
