"""What one batch at a time runs with: a stream, and for each shape a context with its CUDA graph.

Every shape has an execution context of its own, because a graph holds the state of the context it
was captured from; their scratch memory is one and the same, since they run one after the other.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.tensorrt.capture import CapturedRun
from xopt.engines.tensorrt.device import Device
from xopt.errors import BuildError, UnsupportedError

__all__ = ["Session"]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Session:
    """What one thread at a time runs batches with.

    Args:
        trt: the module.
        engine: deserialized; sessions share it.
        device: this session's own.
        bound: most shapes to keep.
        lock: held while a context is made; sessions share it.
    """

    def __init__(
        self, trt: Any, engine: Any, device: Device, bound: int, lock: threading.Lock
    ) -> None:
        self.trt, self.engine, self.device, self.bound = trt, engine, device, bound
        self._lock = lock
        self.programs: OrderedDict[tuple[int, Shapes], Program] = OrderedDict()
        self._scratch_bytes = int(engine.device_memory_size_v2)
        self._scratch = 0
        try:
            device.enter()
            self._scratch = device.allocate(max(self._scratch_bytes, 1))
        except BaseException:
            self.close()
            raise

    def run(
        self,
        profile: int,
        arrays: Mapping[str, NDArray[Any]],
        output: str,
        shape: tuple[int, ...],
        answer: NDArray[np.float32],
    ) -> bool:
        """Run one batch of a profile.

        Args:
            profile: number of the optimization profile.
            arrays: of every input.
            output: name of the output.
            shape: of the output.
            answer: the caller's array for its first rows; filled.

        Returns:
            Whether this shape ran for the first or second time, in which it is prepared.
        """
        self.device.enter()
        key = (profile, tuple((name, array.shape) for name, array in arrays.items()))
        program = self.programs.pop(key, None)
        if program is None:
            while len(self.programs) >= self.bound:
                self.programs.popitem(last=False)[1].close()
            program = Program(self, profile, arrays, output, shape)
        self.programs[key] = program
        program.run(arrays)
        self.device.download_into(answer, program.addresses[output])
        return program.runs <= 2

    def context(self, profile: int) -> Any:
        """A new execution context of a profile, on the shared scratch memory."""
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._lock:
            context = self.engine.create_execution_context(strategy)
        if context is None:
            raise BuildError("TensorRT made no execution context; its messages are above.")
        context.set_device_memory(self._scratch, self._scratch_bytes)
        require(context.set_optimization_profile_async(profile, self.device.stream))
        return context

    def close(self) -> None:
        """Free its memory."""
        for program in self.programs.values():
            program.close()
        self.programs.clear()
        if self._scratch:
            self.device.free(self._scratch)
            self._scratch = 0
        self.device.close()


class Program:
    """One shape: its context, its memory, and from the second run on its graph."""

    def __init__(
        self,
        session: Session,
        profile: int,
        arrays: Mapping[str, NDArray[Any]],
        output: str,
        shape: tuple[int, ...],
    ) -> None:
        self.device = session.device
        self.context: Any = session.context(profile)
        self.graph: CapturedRun | None = None
        self.runs = 0
        self.addresses: dict[str, int] = {}
        sizes = {name: array.nbytes for name, array in arrays.items()} | {
            output: 4 * math.prod(shape)
        }
        try:
            for name, size in sizes.items():
                self.addresses[name] = self.device.allocate(max(size, 1))
                require(self.context.set_tensor_address(name, self.addresses[name]))
            for name, array in arrays.items():
                require(self.context.set_input_shape(name, tuple(array.shape)))
        except BaseException:
            self.close()
            raise

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Upload the inputs and run, without waiting for the end."""
        for name, array in arrays.items():
            self.device.upload(self.addresses[name], array)
        # TensorRT finishes its setup of a shape in the first run, outside of any capture.
        if self.runs == 1:
            # What cannot be captured runs all the same, and is not tried again.
            with contextlib.suppress(BuildError, UnsupportedError):
                self.graph = CapturedRun(self.device, self._submit)
        self.runs += 1
        if self.graph is None:
            self._submit()
        else:
            self.graph.launch()

    def _submit(self) -> None:
        require(self.context.execute_async_v3(self.device.stream))

    def close(self) -> None:
        """Free the memory, the graph first."""
        self.device.synchronize()
        if self.graph is not None:
            self.graph.close()
        self.graph = self.context = None
        for address in self.addresses.values():
            self.device.free(address)
        self.addresses.clear()


def require(done: bool) -> None:
    """Raise where TensorRT says that it did not do what it was told.

    Raises:
        BuildError: always, if not ``done``.
    """
    if not done:
        raise BuildError("TensorRT could not run the batch; its messages are above.")
