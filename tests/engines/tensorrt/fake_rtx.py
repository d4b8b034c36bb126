"""Stands for TensorRT-RTX's runtime: its engines are portable graphs, which OpenVINO runs."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import openvino
from tests.engines.tensorrt.fake_cuda import FakeDriver

from xopt.artifacts import Bundle
from xopt.engines.tensorrt.profiles import LengthProfile

VERSION = "1.7.1.116"


TYPES = {"attention_bias": np.float16, "window_mask": np.float16}


SCRATCH = 4096


class FakeCache:
    """A runtime cache: one entry for each profile that has run."""

    def __init__(self) -> None:
        self.entries = b""
        self.taken: bytes | None = None

    def serialize(self) -> bytes:
        return b"cache:" + self.entries

    def deserialize(self, blob: bytes) -> bool:
        self.taken = bytes(blob)
        return blob.startswith(b"cache:")


class FakeContext:
    """An execution context that refuses what the real one refuses."""

    def __init__(self, library: FakeLibrary) -> None:
        self.library = library
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch = 0

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == SCRATCH == len(self.library.driver.memory[address])
        self.scratch = address

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        assert stream
        self.profile = number
        self.library.profiles.append(number)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.library.shapes[self.profile][name]
        self.shapes[name] = shape
        return len(shape) == len(largest) and all(
            a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True)
        )

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self.library.driver.at(address, 1) == address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        assert self.scratch in self.library.driver.memory
        feed = {}
        self.library.runs.append(self.shapes["input_ids"] + self.shapes["attention_bias"])
        for name, shape in self.shapes.items():
            dtype = np.dtype(TYPES.get(name, np.int32))
            size = int(np.prod(shape)) * dtype.itemsize
            raw = ctypes.string_at(self.library.driver.at(self.addresses[name], size), size)
            feed[name] = np.frombuffer(raw, dtype).reshape(shape)
        answer = np.ascontiguousarray(self.library.program(feed)[0], np.float32)
        target = self.addresses[self.library.output]
        assert answer.nbytes <= len(self.library.driver.memory[target])
        ctypes.memmove(target, answer.ctypes.data, answer.nbytes)
        self.library.cache.entries += bytes([65 + self.profile])
        return True


class Validity(IntEnum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class Diagnostics(IntEnum):
    VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, OLD_CUDA_RUNTIME = 1, 2, 4, 8
    INSUFFICIENT_GPU_MEMORY, MALFORMED_ENGINE, CUDA_ERROR = 16, 32, 64


class FakeLibrary(ModuleType):
    """``tensorrt_rtx`` as far as the engine calls it."""

    EngineValidity = Validity
    EngineInvalidityDiagnostics = Diagnostics
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="l", EAGER="e", NONE="n")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="u")
    CudaGraphStrategy = SimpleNamespace(DISABLED="d", WHOLE_GRAPH_CAPTURE="w")

    def __init__(self, bundle: Bundle, driver: FakeDriver) -> None:
        super().__init__("tensorrt_rtx")
        self.__version__ = VERSION
        self.driver = driver
        self.cache = FakeCache()
        self.strategies: list[str] = []
        self.config = SimpleNamespace(
            create_runtime_cache=lambda: self.cache,
            set_runtime_cache=lambda cache: True,
            set_execution_context_allocation_strategy=self.strategies.append,
        )
        self.profiles: list[int] = []
        # Shapes that were run: what its own capture would hold a graph for.
        self.runs: list[tuple[int, ...]] = []
        self.validity: tuple[Validity, int] = (Validity.VALID, 0)
        path = bundle.folder / "portable" / "graph.onnx"
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        self.program = openvino.Core().compile_model(path, "CPU", hint)
        self.output = bundle.manifest["signature"]["output"]
        facts = bundle.manifest["engine"]
        self.shapes = [
            LengthProfile(**profile).shapes(facts["inputs"]) for profile in facts["profiles"]
        ]
        self.makes = True
        self.Logger: Any = lambda severity: object()
        self.Logger.WARNING = 2

    def context(self, config: object) -> FakeContext | None:
        assert config is self.config
        assert self.strategies == ["u"]
        assert self.config.cuda_graph_strategy == "w"
        return FakeContext(self) if self.makes else None

    def Runtime(self, logger: object) -> Any:
        def load(plan: bytes) -> Any:
            assert plan == b"plan"
            return SimpleNamespace(
                create_runtime_config=lambda: self.config,
                create_execution_context=self.context,
                device_memory_size_v2=SCRATCH,
            )

        return SimpleNamespace(
            get_engine_validity=lambda plan: self.validity, deserialize_cuda_engine=load
        )
