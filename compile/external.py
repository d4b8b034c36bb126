"""ONNX graphs whose weights lie in ``weights.bin``: read by memory map, written in a stream.

A protobuf ends at 2 GB; XLM-R large does not. Every array of at least 1 KiB lies in ``weights.bin``
at an offset of a multiple of 64, whatever the model's size, so that there is one way to store them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.closing import Closing
from xopt.compile.traced import WEIGHTS
from xopt.errors import ArtifactError

__all__ = ["WeightsWriter", "load_model", "save_model"]

INLINE_BYTES = 1024
ALIGNMENT = 64


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file, its weights only when one is asked for.

    Raises:
        ArtifactError: the file is missing or damaged, or a weight's location is absolute, leaves
            the file's folder, or ends beyond its own file.
    """
    try:
        model = ir.load(path)
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _mapped(value.const_value, path.parent.resolve())
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(f"{path} is no readable ONNX file: {error}.") from error
    return model


def _mapped(tensor: ir.ExternalTensor, folder: Path) -> ir.LazyTensor:
    """Maps the file each time it is read, and lets go of it with the array.

    The library's own would keep its map, and so an open file and what was read of it in memory.
    """
    location, offset = Path(tensor.location), tensor.offset or 0
    path = (folder / location).resolve()
    if location.is_absolute() or not path.is_relative_to(folder):
        raise ArtifactError(
            f"The weight {tensor.name!r} points to {location}, outside of the model's folder.",
            hint="Do not use this model: its paths may have been tampered with.",
        )
    if not path.is_file() or path.stat().st_size < offset + max(tensor.nbytes, tensor.length or 0):
        raise ArtifactError(f"The weight {tensor.name!r} lies beyond the end of {location}.")

    def read() -> ir.TensorProtocol:
        shape = tensor.shape.numpy()
        return ir.Tensor(np.memmap(path, tensor.dtype.numpy(), "r", offset, shape))

    return ir.LazyTensor(read, tensor.dtype, tensor.shape)


def save_model(model: ir.Model, path: Path) -> None:
    """Write an ONNX file beside the weights that were written for it."""
    proto = ir.to_proto(model)
    # An engine finds for itself what lies between inputs and outputs.
    del proto.graph.value_info[:]
    onnx.save(proto, path)
    onnx.checker.check_model(str(path))


class WeightsWriter(Closing):
    """Writes arrays to ``weights.bin`` one after the other."""

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / WEIGHTS).open("wb")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def add(self, array: NDArray[Any]) -> ir.TensorProtocol:
        """Write ``array`` and return what stands for it in a graph; a small one is that itself."""
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape))
        if tensor.nbytes < INLINE_BYTES:
            return tensor
        self._stream.write(b"\0" * (-self._stream.tell() % ALIGNMENT))
        offset = self._stream.tell()
        tensor.tofile(self._stream)
        return ir.ExternalTensor(
            WEIGHTS, offset, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=""
        )
