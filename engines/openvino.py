"""OpenVINO on any CPU: the engine of the base install.

A batch runs as whole sentences in two ways: a small one on all cores at once, a large one cut into
groups of like lengths, one per core and stream, which leaves less padding in attention and needs no
synchronisation between cores. Either program exists in two forms: packed, with a gather around
attention, and dense, for groups in which nothing is padded, without it.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle, LoweredGraph
from xopt.engines.base import Engine
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.errors import BuildError, XoptError, require
from xopt.host import cpu_count
from xopt.packing import PackedBatch, length_groups
from xopt.progress import Progress

__all__ = ["OpenVinoBuilder", "OpenVinoEngine"]

log = logging.getLogger(__name__)

# A slot of padded attention costs as much as this many tokens through the linear layers: B·S² slots
# of 4·hidden multiply-adds in fp32 against 24·hidden² in INT8, at the speeds measured on AVX-512.
SLOT_COST = 1 / 1000
# Below this many tokens a core, cutting a batch costs more than it saves.
GROUP_TOKENS = 48


class OpenVinoEngine(Engine):
    """A compiled model for every way a batch can run, each made when first needed.

    Args:
        bundle: of the target ``openvino``.
        threads: cores to use; all by default.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        super().__init__(bundle)
        self.openvino = require("openvino", extra="build", why="Running this bundle")
        self.threads = threads or cpu_count()
        self._core = self.openvino.Core()
        self._programs: dict[tuple[bool, int], Any] = {}
        self._requests: dict[tuple[bool, int], list[Any]] = {}
        self._met: set[tuple[str, int]] = set()

    def _run(self, batch: PackedBatch) -> NDArray[np.float32]:
        groups = self._groups(batch)
        if len(groups) == 1:
            return self._infer([batch])[0]
        answers = self._infer([batch.select(group) for group in groups])
        whole = np.empty((self._rows(batch), self.signature.width), np.float32)
        for group, answer in zip(groups, answers, strict=True):
            whole[batch.token_index(group) if self.signature.per_token else group] = answer
        return whole

    def _rows(self, batch: PackedBatch) -> int:
        return batch.tokens if self.signature.per_token else batch.sentences

    def _groups(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """One group per stream, as a power of two, where the batch is large enough for it."""
        wanted = 1 << (self.threads.bit_length() - 1)
        while wanted > 1 and batch.tokens < wanted * GROUP_TOKENS:
            wanted //= 2
        if wanted == 1 or batch.sentences == 1:
            return [np.arange(batch.sentences)]
        return length_groups(batch.lengths, wanted, slot_cost=SLOT_COST)

    def _infer(self, parts: list[PackedBatch]) -> list[NDArray[np.float32]]:
        """Run the parts at the same time, one stream each; a single part on all cores."""
        streams = self.threads if len(parts) > 1 else 1
        apart = streams > 1 and self._meet(parts)
        running = []
        used: dict[tuple[bool, int], int] = {}
        for part in parts:
            key = (part.is_dense, streams)
            number = used.get(key, 0)
            used[key] = number + 1
            request = self._request(key, number)
            arrays = part.arrays()
            feed = {name: arrays[name] for name in self._inputs(part.is_dense)}
            request.start_async(feed, share_inputs=True)
            # The feed must live until the request is done: its memory is not copied.
            running.append((request, feed))
            if apart:
                request.wait()
        answers = []
        for request, _ in running:
            request.wait()
            answers.append(np.array(request.get_output_tensor(0).data, np.float32))
        return answers

    def _meet(self, parts: list[PackedBatch]) -> bool:
        """Whether the parts share a size that is new, and so must not run at the same time.

        Two streams that make the same oneDNN primitive at the same moment may leave one of them
        with a primitive that lacks its activation: about 1 in 100 times for fp32 with GELU in
        OpenVINO 2026.4, and from then on for every batch of that size on that stream.
        """
        sizes = [{("tokens", p.tokens), ("sentences", p.sentences)} for p in parts]
        shared = {size for n, a in enumerate(sizes) for b in sizes[:n] for size in a & b}
        clash = bool(shared - self._met)
        self._met.update(*sizes)
        return clash

    def _inputs(self, dense: bool) -> list[str]:
        dropped = {"unpad_index"} if dense else set()
        return [name for name in self.signature.inputs if name not in dropped]

    def _request(self, key: tuple[bool, int], number: int) -> Any:
        if key not in self._programs:
            begin = time.perf_counter()
            self._programs[key] = self._compile(*key)
            self._requests[key] = []
            self.prepare_s += time.perf_counter() - begin
        requests = self._requests[key]
        while len(requests) <= number:
            requests.append(self._programs[key].create_infer_request())
        return requests[number]

    def _compile(self, dense: bool, streams: int) -> Any:
        model = self._core.read_model(self.bundle.folder / "model.xml")
        if dense:
            _drop_gathers(self.openvino, model)
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": streams,
            # bf16 would be faster by a few percent and make an answer depend on its batch mates.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        log.debug("compiling dense=%s streams=%s", dense, streams)
        return self._core.compile_model(model, "CPU", config)

    def close(self) -> None:
        """Drop every program."""
        self._requests.clear()
        self._programs.clear()

    def describe(self) -> dict[str, Any]:
        """Library version, cores, and what each kind of operation was compiled to."""
        program = self._request((False, 1), 0) and self._programs[(False, 1)]
        kernels: dict[str, int] = {}
        for node in program.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else "?"
            form = str(info["primitiveType"].astype(str)) if "primitiveType" in info else "?"
            if kind in ("FullyConnected", "MatMul", "Subgraph", "ScaledDotProductAttention"):
                kernels[f"{kind} {form}"] = kernels.get(f"{kind} {form}", 0) + 1
        return {
            "engine": self.name,
            "version": self.openvino.get_version(),
            "threads": self.threads,
            "kernels": dict(sorted(kernels.items())),
        }


def _drop_gathers(openvino: Any, model: Any) -> None:
    """Turn the packed program into the dense one: gathers by pad and unpad index become reshapes.

    ``pad_index`` stays an input for its shape ``[B, S]`` alone.
    """
    opset = openvino.opset13
    parameters = {p.get_friendly_name(): p for p in model.get_parameters()}
    if "pad_index" not in parameters:
        return
    shape = opset.shape_of(parameters["pad_index"].output(0))
    tail = opset.constant(np.array([-1], np.int64))
    padded = opset.concat([shape, tail], 0)
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        index = node.input_value(1).get_node()
        while index.get_type_name() == "Convert":
            index = index.input_value(0).get_node()
        name = index.get_friendly_name()
        if name == "pad_index":
            result = opset.reshape(node.input_value(0), padded.output(0), False).output(0)
        elif name == "unpad_index":
            result = node.input_value(0)
        else:
            continue
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(result)
    if "unpad_index" in parameters:
        model.remove_parameter(parameters["unpad_index"])
    model.validate_nodes_and_infer_types()


class OpenVinoBuilder:
    """ONNX to OpenVINO's own format, which the base install reads without any ONNX library."""

    target = "openvino"

    def build(
        self, lowered: LoweredGraph, out: Path, options: TensorRtOptions, progress: Progress
    ) -> dict[str, Any]:
        """Write ``model.xml`` and ``model.bin``.

        Raises:
            BuildError: OpenVINO could not read the graph.
        """
        openvino = require("openvino", extra="build", why="Building for the CPU")
        try:
            model = openvino.Core().read_model(lowered.path)
            openvino.save_model(model, out / "model.xml", compress_to_fp16=False)
        except XoptError:
            raise
        except Exception as error:
            raise BuildError(f"OpenVINO could not convert the graph: {error}.") from error
        return {"openvino": openvino.get_version()}
