"""How a batch's inputs reach the GPU: page-locked memory, and one copy of all of them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.tensorrt.device import Device

__all__ = ["Staging", "places"]

# TensorRT takes no address of an input that is less aligned.
ALIGNMENT = 256


def places(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, int], int]:
    """Where each array lies in one block, and the block's bytes; the same for the same shapes."""
    found: dict[str, int] = {}
    size = 0
    for name, array in arrays.items():
        found[name] = size
        size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return found, size


class Staging:
    """Page-locked memory of one session, which the GPU reads while the CPU goes on.

    Args:
        device: that reads it; entered before anything is uploaded.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._address = 0
        self._block = np.empty(0, np.uint8)

    def upload(
        self, arrays: Mapping[str, NDArray[Any]], found: Mapping[str, int], size: int, address: int
    ) -> None:
        """Copy all arrays onto the GPU at once, behind what the stream does already.

        The stream must have done every upload before this one.

        Args:
            arrays: of every input.
            found: where each lies, of :func:`places`.
            size: of the block, of :func:`places`.
            address: of the block on the GPU.

        Raises:
            UnsupportedError: there is no memory that can be locked.
        """
        if size > len(self._block):
            self.close()
            self._address = self.device.allocate_host(size)
            whole = (ctypes.c_uint8 * size).from_address(self._address)
            self._block = np.ctypeslib.as_array(whole)
        for name, array in arrays.items():
            part = self._block[found[name] : found[name] + array.nbytes]
            np.copyto(part.view(array.dtype).reshape(array.shape), array)
        self.device.upload(address, self._block[:size])

    def close(self) -> None:
        """Free the memory; no copy may be under way."""
        self._block = np.empty(0, np.uint8)
        if self._address:
            self.device.free_host(self._address)
            self._address = 0
