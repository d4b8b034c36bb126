"""A driver whose GPU is this process's memory, and a TensorRT runtime on it.

The driver counts what is allocated and what waits on the stream; the runtime refuses what the real
one refuses: a shape outside of the profile, an input without an address, a capture before a run.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np

NAME = b"Fake GPU"
INVALID_CONTEXT = 201


class FakeDriver:
    """The functions of ``libcuda`` that xopt calls; each returns a status, 0 for success.

    Args:
        sm: of the GPU, as 10 · major + minor.
    """

    def __init__(self, sm: int = 89) -> None:
        self.sm = sm
        self.memory: dict[int, Any] = {}
        # Page-locked memory, and how often anything was copied onto the GPU.
        self.pinned: dict[int, Any] = {}
        self.uploads = 0
        # What each stream captures; None for one whose capture a refused call has spoilt.
        self.capturing: dict[int, list[Callable[[], None]] | None] = {}
        self.captures = 0
        # Functions that fail; ``submit`` is TensorRT's own inside of a capture.
        self.failing: set[str] = set()
        # How many allocations still succeed; None for any number.
        self.left: int | None = None
        self.contexts = 0
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.streams = 0
        self._handles = itertools.count(1)
        self._threads = threading.local()

    def at(self, address: int, size: int) -> int:
        """The address, if these bytes lie in one block and it is aligned as inputs must be."""
        [start] = [a for a, block in self.memory.items() if a <= address < a + len(block)]
        assert (address - start) % 256 == 0
        assert address + size <= start + len(self.memory[start])
        return address

    def cuInit(self, flags: int) -> int:
        return 999 if "cuInit" in self.failing else 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, handle: Any, number: int) -> int:
        handle._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: int) -> int:
        name.value = NAME
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, handle: int) -> int:
        value._obj.value = {75: self.sm // 10, 76: self.sm % 10}[number]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, handle: int) -> int:
        context._obj.value = 1
        self.contexts += 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, handle: int) -> int:
        self.contexts -= 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self._threads.context = context.value
        return 0

    def __getattribute__(self, name: str) -> Any:
        # What works on the GPU needs its context current in the thread that calls.
        find = object.__getattribute__
        works = name.startswith(("cuMem", "cuStream", "cuGraph"))
        if works and not getattr(find(self, "_threads"), "context", None):
            return lambda *arguments: INVALID_CONTEXT
        return find(self, name)

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        self.streams += 1
        stream._obj.value = next(self._handles)
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        self.streams -= 1
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 1 if stream.value in self.capturing else 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        if self.left is not None:
            if self.left == 0:
                return 2
            self.left -= 1
        block = (ctypes.c_uint8 * size.value)()
        address = ctypes.addressof(block)
        ctypes.memset(address, 0xA5, size.value)
        self.memory[address] = block
        pointer._obj.value = address
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:
        del self.memory[pointer.value]
        return 0

    def cuMemHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:
        if "cuMemHostAlloc" in self.failing:
            return 2
        block = (ctypes.c_uint8 * size.value)()
        pointer._obj.value = ctypes.addressof(block)
        self.pinned[pointer._obj.value] = block
        return 0

    def cuMemFreeHost(self, pointer: Any) -> int:
        del self.pinned[pointer.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        assert stream.value not in self.capturing
        assert size.value <= len(self.memory[target.value])
        # From pageable memory the real one copies before it returns.
        assert size.value <= len(self.pinned[source.value])
        self.uploads += 1
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        assert size.value <= len(self.memory[source.value])
        if size.value:
            ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:
        self.capturing[stream.value] = []
        self.captures += 1
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        captured = self.capturing.pop(stream.value)
        if captured is None or "cuStreamEndCapture" in self.failing:
            return 901
        graph._obj.value = next(self._handles)
        self.graphs[graph._obj.value] = captured
        return 0

    def cuGraphInstantiateWithFlags(self, run: Any, graph: Any, flags: Any) -> int:
        if "cuGraphInstantiateWithFlags" in self.failing:
            return 2
        run._obj.value = next(self._handles)
        self.graphs[run._obj.value] = self.graphs[graph.value]
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        del self.graphs[graph.value]
        return 0

    cuGraphExecDestroy = cuGraphDestroy

    def cuGraphLaunch(self, run: Any, stream: Any) -> int:
        self.launches += 1
        for submit in self.graphs[run.value]:
            submit()
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = b"fake error"
        return 0


class Context:
    """Its answer to a sentence: the sum of its token ids, and how many tokens it has."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.scratch = 0
        self.profile = -1
        self.ran = False

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self.scratch = address

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profile = number
        return 0 <= number < len(self.engine.limits)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in (*self.engine.inputs, self.engine.output)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        smallest, _, largest = self.engine.limits[self.profile][name]
        return len(shape) == len(largest) and all(
            least <= size <= most
            for least, size, most in zip(smallest, shape, largest, strict=True)
        )

    def execute_async_v3(self, stream: int) -> bool:
        driver = self.engine.driver
        if set(self.addresses) != {*self.engine.inputs, self.engine.output} or not self.scratch:
            return False
        if stream not in driver.capturing:
            self.ran = True
            self._compute()
            return True
        # TensorRT allocates in the first run of a shape, which a capture does not allow.
        assert self.ran
        captured = driver.capturing[stream]
        if "submit" in driver.failing or captured is None:
            driver.capturing[stream] = None
            return False
        captured.append(self._compute)
        return True

    def _compute(self) -> None:
        ids = self._read("input_ids", np.int32)
        begins = self._read("cu_seqlens", np.int32)
        rows = [(ids[a:b].sum(), b - a) for a, b in itertools.pairwise(begins)]
        answer = np.array(rows, np.float32)
        target = self.addresses[self.engine.output]
        assert answer.nbytes <= len(self.engine.driver.memory[target])
        ctypes.memmove(target, answer.ctypes.data, answer.nbytes)

    def _read(self, name: str, dtype: Any) -> Any:
        count = int(np.prod(self.shapes[name]))
        size = count * np.dtype(dtype).itemsize
        raw = ctypes.string_at(self.engine.driver.at(self.addresses[name], size), size)
        return np.frombuffer(raw, dtype)


class Engine:
    device_memory_size_v2 = 4096

    def __init__(self, driver: FakeDriver, limits: list[dict[str, list[tuple[int, ...]]]]) -> None:
        self.driver, self.limits = driver, limits
        self.inputs, self.output = list(limits[0]), "embeddings"
        self.contexts: list[Context] = []
        # How often a thread came while another was making a context, which the real one forbids.
        self.overlaps = 0
        self._making, self._met = threading.Lock(), threading.Event()

    def create_execution_context(self, strategy: str) -> Context:
        assert strategy == "USER_MANAGED"
        if not self._making.acquire(blocking=False):
            self.overlaps += 1
            self._met.set()
            self._making.acquire()
        # Leaves the others a moment to come, and goes on at once when one has come.
        self._met.wait(timeout=0.001)
        self._making.release()
        self.contexts.append(Context(self))
        return self.contexts[-1]


def fake_tensorrt(driver: FakeDriver, limits: list[dict[str, list[tuple[int, ...]]]]) -> Any:
    """The module ``tensorrt``: its runtime makes an engine of these profiles of any bytes."""
    module: Any = types.ModuleType("tensorrt")
    module.__version__ = "11.4.0.106"
    module.engines = []
    module.runtimes = []

    class Logger(int):
        WARNING = 2

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: Logger) -> None:
            module.runtimes.append(self)

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            if content != b"plan":
                return None
            module.engines.append(Engine(driver, limits))
            return module.engines[-1]

    module.Logger, module.Runtime = Logger, Runtime
    module.ExecutionContextAllocationStrategy = types.SimpleNamespace(USER_MANAGED="USER_MANAGED")
    return module
