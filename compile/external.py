"""ONNX weights outside of the protobuf: ``weights.bin``, read by memory map, written in a stream.

A protobuf ends at 2 GB; XLM-R large does not. Every array of at least 1 KiB lies in ``weights.bin``
at an offset of a multiple of 64, whatever the model's size, so that there is one way to store them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from xopt.closing import Closing
from xopt.errors import ArtifactError

__all__ = ["WEIGHTS", "Weights", "WeightsWriter", "check_external_paths", "load_model"]

WEIGHTS = "weights.bin"
INLINE_BYTES = 1024
ALIGNMENT = 64


def check_external_paths(model: onnx.ModelProto, folder: Path) -> None:
    """Refuse an ONNX model whose weights point outside of its own folder.

    Raises:
        ArtifactError: a tensor's location is absolute, leaves the folder, or ends beyond its file.
    """
    root = folder.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entry = {item.key: item.value for item in tensor.external_data}
        location = Path(entry.get("location", ""))
        path = (root / location).resolve()
        if location.is_absolute() or not path.is_relative_to(root):
            raise ArtifactError(
                f"The weight {tensor.name!r} points to {location}, outside of the model's folder.",
                hint="Do not use this model: its paths may have been tampered with.",
            )
        end = int(entry.get("offset", 0)) + int(entry.get("length", 0))
        if not path.is_file() or path.stat().st_size < end:
            raise ArtifactError(f"The weight {tensor.name!r} lies beyond the end of {location}.")


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file without its weights, its weight paths checked.

    Raises:
        ArtifactError: the file is missing or damaged, or a weight's path leaves its folder.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ArtifactError(f"{path} is no readable ONNX file: {error}.") from error
    check_external_paths(model, path.parent)
    return model


class Weights:
    """The initializers of a model as arrays, read from the disk only when one is asked for."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self.folder = folder
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._rows: dict[str, NDArray[np.int32]] = {}

    def take(self, name: str, rows: NDArray[np.int32]) -> None:
        """From now on give these rows of ``name`` alone."""
        self._rows[name] = rows

    def __contains__(self, name: object) -> bool:
        """Whether ``name`` is an initializer."""
        return name in self._tensors

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """The array; memory-mapped where it lies outside of the protobuf and none is left out."""
        whole = self._read(name)
        return whole[self._rows[name]] if name in self._rows else whole

    def _read(self, name: str) -> NDArray[np.generic]:
        tensor = self._tensors[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(tensor)
        entry = {item.key: item.value for item in tensor.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.memmap(
            self.folder / entry["location"],
            dtype=dtype,
            mode="r",
            offset=int(entry.get("offset", 0)),
            shape=tuple(tensor.dims),
        )


class WeightsWriter(Closing):
    """Writes arrays to ``weights.bin`` one after the other and describes each as a TensorProto."""

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / WEIGHTS).open("wb")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def add(self, name: str, array: NDArray[np.generic]) -> TensorProto:
        """Write ``array`` and return the initializer that stands for it."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        if array.nbytes < INLINE_BYTES:
            return onnx.numpy_helper.from_array(array, name)
        self._stream.write(b"\0" * (-self._stream.tell() % ALIGNMENT))
        offset = self._stream.tell()
        self._stream.write(array.reshape(-1).view(np.uint8).data)
        tensor = TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        entries = {"location": WEIGHTS, "offset": offset, "length": array.nbytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor
