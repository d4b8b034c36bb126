"""What one batch at a time runs with: a stream, and programs on one scratch memory.

A program is an execution context with its buffers. Where shapes have CUDA graphs each has a context
of its own, because a graph holds the state of the context it was captured from; else there is one
for each profile. They share their scratch memory, since they run one after the other.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.tensorrt.capture import CapturedRun
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.staging import Staging, places
from xopt.errors import BuildError, UnsupportedError

__all__ = ["Session"]

# The block of all inputs; no tensor has this name.
INPUTS = "inputs of a batch"


class Session:
    """What one thread at a time runs batches with.

    Args:
        make: a new execution context, without scratch memory.
        device: this session's own.
        scratch_bytes: that a context needs.
        bound: most shapes to keep, each with a CUDA graph; None for a program for each profile,
            which takes any shape and has no graph.
    """

    def __init__(
        self, make: Callable[[], Any], device: Device, scratch_bytes: int, bound: int | None
    ) -> None:
        self._make, self.device, self.bound = make, device, bound
        self.programs: OrderedDict[object, Program] = OrderedDict()
        self._scratch_bytes = scratch_bytes
        self._scratch = 0
        self._staging = Staging(device)
        try:
            device.enter()
            self._scratch = device.allocate(max(scratch_bytes, 1))
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
            Whether the run prepared what later ones find ready.
        """
        self.device.enter()
        shapes = tuple((name, array.shape) for name, array in arrays.items())
        key = (profile, None if self.bound is None else shapes)
        program = self.programs.pop(key, None)
        if program is None:
            while self.bound is not None and len(self.programs) >= self.bound:
                self.programs.popitem(last=False)[1].close()
            context = self._context(profile)
            program = Program(self.device, context, self._staging, graph=self.bound is not None)
        try:
            prepared = program.run(arrays, output, 4 * math.prod(shape))
            self.device.download_into(answer, program.blocks[output].address)
        except BaseException:
            program.close()
            raise
        self.programs[key] = program
        return prepared

    def _context(self, profile: int) -> Any:
        """A new execution context of a profile, on the shared scratch memory."""
        context = self._make()
        context.set_device_memory(self._scratch, self._scratch_bytes)
        require(context.set_optimization_profile_async(profile, self.device.stream))
        return context

    def close(self) -> None:
        """Free its memory."""
        for program in self.programs.values():
            program.close()
        self.programs.clear()
        self._staging.close()
        if self._scratch:
            self.device.free(self._scratch)
            self._scratch = 0
        self.device.close()


@dataclass
class Block:
    """Memory on the GPU.

    Attributes:
        address: of it.
        size: in bytes.
    """

    address: int
    size: int


class Program:
    """A context with its memory, and from the second run on a graph, if it is to have one.

    All inputs lie in one block, which one copy fills. Where each lies follows from their shapes, so
    that a graph of the library's own, which holds addresses, serves every batch of its shapes.
    """

    def __init__(self, device: Device, context: Any, staging: Staging, *, graph: bool) -> None:
        self.device, self.staging = device, staging
        self.context: Any = context
        self.graph: CapturedRun | None = None
        self._captures = graph
        self.runs = 0
        self.blocks: dict[str, Block] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._told: dict[str, int] = {}

    def run(self, arrays: Mapping[str, NDArray[Any]], output: str, size: int) -> bool:
        """Upload the inputs and run, without waiting for the end.

        Args:
            arrays: of every input; with a graph, of the same shapes every time.
            output: name of the output.
            size: of the output, in bytes.

        Returns:
            Whether this was a run that prepares: the first, and with a graph the second too.
        """
        found, whole = places(arrays)
        inputs = self._make_room(INPUTS, whole)
        for name, array in arrays.items():
            if self._shapes.get(name) != array.shape:
                require(self.context.set_input_shape(name, tuple(array.shape)))
                self._shapes[name] = array.shape
            self._tell(name, inputs + found[name])
        self._tell(output, self._make_room(output, size))
        self.staging.upload(arrays, found, whole, inputs)
        # TensorRT finishes its setup of a shape in the first run, outside of any capture.
        if self._captures and self.runs == 1:
            # What cannot be captured runs all the same, and is not tried again.
            with contextlib.suppress(BuildError, UnsupportedError):
                self.graph = CapturedRun(self.device, self._submit)
        self.runs += 1
        if self.graph is None:
            self._submit()
        else:
            self.graph.launch()
        return self.runs <= 1 + self._captures

    def _make_room(self, name: str, size: int) -> int:
        """A block of at least this size; one that grows takes half more, to grow seldom."""
        block = self.blocks.get(name)
        if block is not None and block.size >= size:
            return block.address
        if block is not None:
            self.device.synchronize()
            # Forgotten first: what is freed must not be freed again if this fails.
            self.device.free(self.blocks.pop(name).address)
            size = size * 3 // 2
        size = max(size, 1)
        self.blocks[name] = Block(self.device.allocate(size), size)
        return self.blocks[name].address

    def _tell(self, name: str, address: int) -> None:
        """Where an input or the output lies, if that is new."""
        if self._told.get(name) != address:
            require(self.context.set_tensor_address(name, address))
            self._told[name] = address

    def _submit(self) -> None:
        require(self.context.execute_async_v3(self.device.stream))

    def close(self) -> None:
        """Free the memory, the graph first."""
        self.device.synchronize()
        if self.graph is not None:
            self.graph.close()
        self.graph = self.context = None
        for block in self.blocks.values():
            self.device.free(block.address)
        self.blocks.clear()


def require(done: bool) -> None:
    """Raise where TensorRT says that it did not do what it was told.

    Raises:
        UnsupportedError: always, if not ``done``.
    """
    if not done:
        raise UnsupportedError(
            "TensorRT could not run the batch; its messages are above.",
            hint="`xopt doctor` shows what this machine has.",
        )
