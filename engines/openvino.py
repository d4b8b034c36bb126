"""OpenVINO on any CPU: the engine of the base install.

A batch runs as whole sentences in two ways: a small one on all cores at once, a large one cut into
groups of like lengths, one per core and stream, which leaves less padding in attention and needs no
synchronisation between cores. Either program exists in two forms: packed, with a gather around
attention, and dense, for groups in which nothing is padded, without it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.building import Builder, BuilderOptions, Built, Context
from xopt.errors import BuildError, XoptError, require
from xopt.host import cpu_count
from xopt.packing import PackedBatch, length_groups
from xopt.progress import Progress

__all__ = ["OpenVinoBuilder", "OpenVinoEngine", "open_core"]

log = logging.getLogger(__name__)

# A slot of padded attention costs as much as this many tokens through the linear layers: B·S² slots
# of 4·hidden multiply-adds in fp32 against 24·hidden² in INT8, at the speeds measured on AVX-512.
SLOT_COST = 1 / 1000
# Inputs that lead into the padded form of attention, and out of it.
PADS = ("pad_index", "window_queries", "window_keys")
UNPADS = ("unpad_index", "window_slots")
# Below this many tokens a core, cutting a batch costs more than it saves.
GROUP_TOKENS = 48


@cache
def open_core() -> Any:
    """The one ``openvino.Core`` of this process, which lives as long as it.

    The CPU plugin of each core gives the thread another signal stack and puts the one before back
    when it goes. Where cores go in another order than last in, first out, a freed stack is put back
    (OpenVINO 2026.4), and the next signal, such as Ctrl-C, is a segmentation fault.
    """
    return require("openvino", extra="build", why="Running on the CPU").Core()


class _Part:
    """Sentences that run in one stream, from when they start until their answer is taken."""

    def __init__(
        self, engine: OpenVinoEngine, program: tuple[bool, int], batch: PackedBatch
    ) -> None:
        self.engine = engine
        self.program = program
        # Sizes for which the program may have to make a new primitive.
        self.sizes = {("tokens", batch.tokens), ("sentences", batch.sentences)}
        self.request: Any = None
        # The request reads these arrays where they are.
        self.feed: dict[str, Any] = {}
        self.begin = 0.0

    def take(self) -> NDArray[np.float32]:
        """Wait for the answer; its stream is free again."""
        self.wait()
        request, self.request = self.request, None
        answer = np.array(request.get_output_tensor(0).data, np.float32)
        self.engine.count(self.begin, self.begin + request.latency / 1e3)
        self.engine._idle[self.program].append(request)
        return answer

    def wait(self) -> None:
        """Until the part is done; its error is raised here, every time."""
        if self in self.engine._running:
            self.engine._running.remove(self)
        self.request.wait()
        self.engine._met.update((self.program, size) for size in self.sizes)

    def drop(self) -> None:
        """Wait, if it runs, and give up its answer."""
        if self in self.engine._running:
            with contextlib.suppress(Exception):
                self.wait()


class OpenVinoEngine(Engine):
    """A compiled model for every way a batch can run, each made when first needed.

    A stream takes its next part as soon as its last one is done, so with a batch waiting behind the
    one that runs no core waits for another.

    Args:
        bundle: of the target ``openvino``.
        threads: cores to use; all by default.
    """

    name = "openvino"
    ahead = 1

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        super().__init__(bundle)
        self.openvino = require("openvino", extra="build", why="Running this bundle")
        self.threads = threads or cpu_count()
        self._programs: dict[tuple[bool, int], Any] = {}
        self._idle: defaultdict[tuple[bool, int], list[Any]] = defaultdict(list)
        self._running: list[_Part] = []
        self._met: set[tuple[tuple[bool, int], tuple[str, int]]] = set()

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        return self._start(part, 1).take()

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """One group per stream, as a power of two, where the batch is large enough for it."""
        wanted = 1 << (self.threads.bit_length() - 1)
        while wanted > 1 and batch.tokens < wanted * GROUP_TOKENS:
            wanted //= 2
        if wanted == 1 or batch.sentences == 1:
            return super().plan(batch)
        return length_groups(batch.lengths, wanted, slot_cost=SLOT_COST)

    def _start(self, part: PackedBatch, parts: int) -> _Part:
        """Start a part: on a stream of its own, or on all cores if it is the only one."""
        streams = 1 if parts == 1 else self.threads
        arrays = part.arrays(self.signature.window)
        dense = part.is_dense and _whole(arrays)
        started = _Part(self, (dense, streams), part)
        self._meet(started)
        started.request = self._request(started.program)
        started.feed = {name: arrays[name] for name in self._inputs(dense)}
        started.begin = time.perf_counter()
        started.request.start_async(started.feed, share_inputs=True)
        self._running.append(started)
        return started

    def _meet(self, part: _Part) -> None:
        """Wait for every running part that shares a size which is new to both.

        Two streams that make the same oneDNN primitive at the same moment may leave one of them
        with a primitive that lacks its activation: about 1 in 100 times for fp32 with GELU in
        OpenVINO 2026.4, and from then on for every batch of that size on that stream.
        """

        def new(one: _Part) -> set[tuple[str, int]]:
            return {size for size in one.sizes if (one.program, size) not in self._met}

        for other in list(self._running):
            if new(part) & new(other):
                # Whoever takes its answer hears of its error.
                with contextlib.suppress(Exception):
                    other.wait()

    def _inputs(self, dense: bool) -> list[str]:
        return [name for name in self.signature.inputs if not (dense and name in UNPADS)]

    def _request(self, program: tuple[bool, int]) -> Any:
        compiled, idle = self._compiled(program), self._idle[program]
        return idle.pop() if idle else compiled.create_infer_request()

    def _compiled(self, program: tuple[bool, int]) -> Any:
        if program not in self._programs:
            begin = time.perf_counter()
            self._programs[program] = self._compile(*program)
            self.prepare_s += time.perf_counter() - begin
        return self._programs[program]

    def _compile(self, dense: bool, streams: int) -> Any:
        model = open_core().read_model(self.bundle.folder / "model.xml")
        if dense:
            _drop_gathers(self.openvino, model)
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": streams,
            # bf16 would be faster by a few percent and make an answer depend on its batch mates.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        log.debug("compiling dense=%s streams=%s", dense, streams)
        return open_core().compile_model(model, "CPU", config)

    def close(self) -> None:
        """Drop every program."""
        for part in list(self._running):
            part.drop()
        self._idle.clear()
        self._programs.clear()

    def describe(self) -> dict[str, Any]:
        """Library version, cores, and what each kind of operation was compiled to."""
        program = self._compiled((False, 1))
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


def _whole(arrays: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether the layers that see a window have the blocks of those that see everything."""
    shapes = {arrays[name].shape for name in PADS if name in arrays}
    return len(shapes) == 1


def _drop_gathers(openvino: Any, model: Any) -> None:
    """Turn the packed program into the dense one: gathers by pad and unpad index become reshapes.

    What was a pad index stays an input for its shape ``[B, S]`` alone.
    """
    opset = openvino.opset13
    parameters = {p.get_friendly_name(): p for p in model.get_parameters()}
    tail = opset.constant(np.array([-1], np.int64))
    padded = {
        name: opset.concat([opset.shape_of(parameters[name].output(0)), tail], 0)
        for name in PADS
        if name in parameters
    }
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        index = node.input_value(1).get_node()
        while index.get_type_name() == "Convert":
            index = index.input_value(0).get_node()
        name = index.get_friendly_name()
        if name in padded:
            shape = padded[name].output(0)
            result = opset.reshape(node.input_value(0), shape, False).output(0)
        elif name in UNPADS:
            result = node.input_value(0)
        else:
            continue
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(result)
    for name in UNPADS:
        if name in parameters:
            model.remove_parameter(parameters[name])
    model.validate_nodes_and_infer_types()


class OpenVinoBuilder(Builder[BuilderOptions, Context]):
    """ONNX to OpenVINO's own format, which the base install reads without any ONNX library."""

    target = "openvino"

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``model.xml`` and ``model.bin``.

        Raises:
            BuildError: OpenVINO could not read the graph.
        """
        openvino = require("openvino", extra="build", why="Building for the CPU")
        lowered = context.lower()
        try:
            model = open_core().read_model(lowered.path)
            openvino.save_model(model, out / "model.xml", compress_to_fp16=False)
        except XoptError:
            raise
        except Exception as error:
            raise BuildError(f"OpenVINO could not convert the graph: {error}.") from error
        return Built(lowered, {"openvino": openvino.get_version()})
