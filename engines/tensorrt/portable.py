"""A TensorRT bundle's own lowered graph, run by OpenVINO: what it will answer, without its GPU."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle, LoweredGraph
from xopt.engines.base import Engine
from xopt.engines.openvino import open_core
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.errors import ArtifactError, require
from xopt.grouping import padded_width, width_groups
from xopt.packing import PackedBatch

__all__ = ["PORTABLE", "PortableEngine", "copy_portable"]

# The folder of a bundle that holds the lowered graph.
PORTABLE = "portable"


def copy_portable(lowered: LoweredGraph, out: Path) -> None:
    """The lowered graph itself, which any ONNX runtime reads."""
    (out / PORTABLE).mkdir()
    for path in lowered.folder.iterdir():
        if path.suffix in (".onnx", ".bin"):
            # A copy: ONNX refuses weights that have a second hard link.
            shutil.copyfile(path, out / PORTABLE / path.name)


class PortableEngine(Engine):
    """The same integers as on the GPU, between them fp32 where TensorRT has fp16.

    For an engine with the attention plugin it is a stand-in: attention in it is the native form's.

    Args:
        bundle: of a TensorRT target.
        threads: cores to use; all by default.
    """

    name = "portable"
    predicted = True

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        super().__init__(bundle)
        openvino = require("openvino", extra="build", why="Predicting this bundle's answers")
        path = bundle.folder / PORTABLE / "graph.onnx"
        if not path.is_file():
            raise ArtifactError(
                f"{bundle.folder} holds no portable graph.",
                hint=f"Build it again: xopt build CHECKPOINT --target {bundle.target}",
            )
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        self._by_width = bundle.precision.startswith("int8")
        self.version = openvino.get_version()
        self._program = open_core().compile_model(path, "CPU", config)
        self._names = [port.get_any_name() for port in self._program.inputs]

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """One group per width in INT8, as in :class:`~xopt.engines.openvino.OpenVinoEngine`."""
        if not self._by_width:
            return super().plan(batch)
        return width_groups(batch.lengths, 1, slot_cost=0)

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        if self._by_width:
            part = part.padded(padded_width(part.longest))
        arrays = tensorrt_arrays(part, self.signature.window)
        answer = self._program({name: arrays[name] for name in self._names})
        return np.array(answer[0], np.float32)

    def describe(self) -> dict[str, Any]:
        """What stands in for what."""
        return {"engine": self.name, "for": self.bundle.target, "openvino": self.version}
