"""One NVIDIA GPU through its driver's own library: memory, copies and a stream, nothing to install.

What xopt needs of CUDA to run an engine is a dozen functions of ``libcuda``, which every driver
brings.
"""

from __future__ import annotations

import ctypes
from typing import Any, Self

from numpy.typing import NDArray

from xopt.errors import BuildError, UnsupportedError

__all__ = ["Device", "load_driver"]

LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
MAJOR, MINOR = 75, 76
OUT_OF_MEMORY = 2

Pointer = ctypes.c_uint64


def load_driver() -> Any:
    """The driver's library.

    Raises:
        UnsupportedError: there is none.
    """
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise UnsupportedError(
        "An NVIDIA GPU is needed, and no NVIDIA driver is installed here.",
        hint="`xopt eval` predicts its scores on the CPU; to run on the CPU, build with: "
        "xopt build CHECKPOINT --target cpu",
    )


class Device:
    """The primary context of one GPU, and a stream on it. One thread at a time.

    Args:
        number: which GPU, as the driver counts them.
        driver: the library; a fake in tests.
    """

    def __init__(self, number: int = 0, driver: Any = None) -> None:
        self.driver = driver or load_driver()
        self.call("cuInit", 0)
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        if number >= count.value:
            raise UnsupportedError(f"There is no GPU {number}; the driver lists {count.value}.")
        handle = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(handle), number)
        self.handle = handle.value
        self.sm = 10 * self._attribute(MAJOR) + self._attribute(MINOR)
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, 256, self.handle)
        self.name = name.value.decode(errors="replace")
        self._context = ctypes.c_void_p()
        self._stream = ctypes.c_void_p()

    def enter(self) -> Self:
        """Make the GPU's context current in this thread, and the stream on the first call."""
        if not self._context.value:
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self.handle)
        self.call("cuCtxSetCurrent", self._context)
        if not self._stream.value:
            # 1: it does not wait for the default stream.
            self.call("cuStreamCreate", ctypes.byref(self._stream), 1)
        return self

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.value or 0)

    def allocate(self, size: int) -> int:
        """The address of ``size`` new bytes.

        Raises:
            UnsupportedError: the GPU's memory is full.
        """
        pointer = Pointer()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return int(pointer.value)

    def free(self, address: int) -> None:
        """Give memory back."""
        self.call("cuMemFree_v2", Pointer(address))

    def allocate_host(self, size: int) -> int:
        """The address of ``size`` new bytes of the host's, which no other process's pages displace.

        Raises:
            UnsupportedError: the memory is full.
        """
        pointer = ctypes.c_void_p()
        self.call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), 0)
        return int(pointer.value or 0)

    def free_host(self, address: int) -> None:
        """Give memory of the host's back."""
        self.call("cuMemFreeHost", ctypes.c_void_p(address))

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array onto the GPU, behind what the stream does already."""
        source = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        self.call("cuMemcpyHtoDAsync_v2", Pointer(address), source, size, self._stream)

    def download_into(self, array: NDArray[Any], address: int) -> None:
        """Fill the caller's contiguous array, when the stream has done all before."""
        size = ctypes.c_size_t(array.nbytes)
        target = ctypes.c_void_p(array.ctypes.data)
        self.call("cuMemcpyDtoHAsync_v2", target, Pointer(address), size, self._stream)
        self.synchronize()

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Let go of the stream and the context, in whatever thread."""
        if self._context.value:
            self.call("cuCtxSetCurrent", self._context)
        if self._stream.value:
            self.call("cuStreamDestroy_v2", self._stream)
            self._stream = ctypes.c_void_p()
        if self._context.value:
            self.call("cuDevicePrimaryCtxRelease_v2", self.handle)
            self._context = ctypes.c_void_p()

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, self.handle)
        return value.value

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver; see its own documentation.

        Raises:
            UnsupportedError: the driver does not start, or the memory of the GPU is full.
            BuildError: it failed in another way.
        """
        status = getattr(self.driver, name)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self.driver.cuGetErrorString(status, ctypes.byref(text))
        said = (text.value or b"unknown error").decode()
        if name == "cuInit":
            raise UnsupportedError(
                f"The NVIDIA driver does not start: {said}.",
                hint="Check it with nvidia-smi; `xopt eval` predicts scores without a GPU.",
            )
        if status == OUT_OF_MEMORY:
            raise UnsupportedError("The GPU's memory is full.", hint="Run smaller batches.")
        raise BuildError(f"The NVIDIA driver failed in {name}: {said}.")
