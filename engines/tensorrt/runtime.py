"""Reading an engine, and running it profile by profile into buffers that grow and stay."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.profiles import LengthProfile, choose_profile, split_batch
from xopt.errors import ArtifactError, UnsupportedError
from xopt.packing import PackedBatch

__all__ = [
    "ENGINE", "TensorRtEngine", "describe_profiles", "quiet_logger", "read_engine", "read_facts",
]  # fmt: skip

# The engine's file in its bundle.
ENGINE = "engine.trt"


class TensorRtEngine(Engine):
    """A deserialized engine on one GPU, with one execution context; for one thread at a time.

    A subclass loads the library and makes the context. Batches beyond the largest profile run in
    parts. Each answer is a new array.

    Args:
        bundle: of a TensorRT target.
        device: which GPU, as the driver counts them, or one that is open.
    """

    def __init__(self, bundle: Bundle, *, device: int | Device = 0) -> None:
        super().__init__(bundle)
        facts, self.profiles, self.inputs = read_facts(bundle)
        self.facts = facts
        self.device = device if isinstance(device, Device) else Device(device)
        self._buffers: dict[str, tuple[int, int]] = {}
        self._used: set[int] = set()
        self._active = -1
        self.context: Any = None

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """Groups that each fit a profile."""
        return split_batch(self.profiles, batch)

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        self.device.enter()
        number = choose_profile(self.profiles, part)
        assert number is not None
        begin = time.perf_counter()
        if number != self._active:
            self._must(self.context.set_optimization_profile_async(number, self.device.stream))
            self.device.synchronize()
            self._active = number
        arrays = tensorrt_arrays(part, self.signature.window)
        # Copies may still read these when the next line runs.
        held = [np.ascontiguousarray(arrays[name]) for name in self.inputs]
        for name, array in zip(self.inputs, held, strict=True):
            address = self._buffer(name, array.nbytes)
            self.device.upload(address, array)
            self._must(self.context.set_input_shape(name, tuple(array.shape)))
            self._must(self.context.set_tensor_address(name, address))
        output = self.signature.output
        rows, width = self._shape(part)
        address = self._buffer(output, 4 * rows * width)
        self._must(self.context.set_tensor_address(output, address))
        self._must(self.context.execute_async_v3(self.device.stream))
        answer = self.device.download((rows, width), np.float32, address)
        if number not in self._used:
            self._used.add(number)
            self.prepare_s += time.perf_counter() - begin
            self._prepared()
        return answer

    def _prepared(self) -> None:
        """A profile has run for the first time; its programs exist now."""

    def _must(self, done: bool) -> None:
        if not done:
            raise UnsupportedError(
                f"{self.name} could not run a batch on {self.device.name}.",
                hint="Its messages are above; `xopt doctor` shows what this machine has.",
            )

    def _buffer(self, name: str, size: int) -> int:
        address, held = self._buffers.get(name, (0, 0))
        if held < size:
            if held:
                self.device.synchronize()
                self.device.free(address)
            # By half more than asked, so that slowly growing batches do not allocate each time.
            held = max(256, size * 3 // 2)
            # Forgotten first: what is freed must not be freed again if this fails.
            self._buffers.pop(name, None)
            address = self.device.allocate(held)
            self._buffers[name] = (address, held)
        return address

    def close(self) -> None:
        """Free the GPU's memory."""
        self.context = None
        if self._buffers:
            # It may be closed in another thread than ran it.
            self.device.enter()
        for address, _ in self._buffers.values():
            self.device.free(address)
        self._buffers.clear()
        self.device.close()

    def describe(self) -> dict[str, Any]:
        """GPU and profiles."""
        return {
            "engine": self.name,
            "device": self.device.name,
            "sm": self.device.sm,
            "profiles": describe_profiles(self.profiles),
        }


def read_facts(bundle: Bundle) -> tuple[dict[str, Any], list[LengthProfile], list[str]]:
    """What the manifest says of the engine, its profiles, and the names of its inputs.

    Raises:
        ArtifactError: the manifest does not say it.
    """
    try:
        facts = bundle.manifest["engine"]
        profiles = [LengthProfile(**profile) for profile in facts["profiles"]]
        return facts, profiles, list(facts["inputs"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{bundle.folder}: its manifest does not describe its engine: {error!r}.",
            hint="Build it again.",
        ) from error


def describe_profiles(profiles: Sequence[LengthProfile]) -> list[str]:
    """A line for each profile."""
    return [f"up to {p.longest} tokens, {p.sentences} sentences" for p in profiles]


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
            hint=f"Copy the bundle again, or rebuild it with: xopt build --target {bundle.target}",
        )
    return content


def quiet_logger(trt: ModuleType) -> Any:
    """A logger that shows warnings and errors alone."""
    return trt.Logger(trt.Logger.WARNING)
