"""The CPU engine with OpenVINO's performance counters, each put to its kind and layer."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino import OpenVinoEngine, open_core
from xopt.engines.openvino_linear import layer_of
from xopt.engines.openvino_native import layer_times, load_attention
from xopt.engines.openvino_parts import Program, RunningPart
from xopt.engines.profile import EMBEDDINGS, HEAD, Operation, Profile
from xopt.packing import PackedBatch

__all__ = ["ProfiledOpenVinoEngine", "classify", "places_of"]

PRODUCTS = {"FullyConnected", "MatMul", "Convolution", "GatherMatmul", "LLMMLP", "QKVProjection"}
NORMS = {"MVN", "RMS", "RMSNorm", "NormalizeL2"}
MOVES = {
    "Gather", "GatherElements", "GatherND", "Transpose", "Reshape", "StridedSlice", "Slice",
    "Concatenation", "Concat", "Split", "VariadicSplit", "Reorder", "Broadcast", "Tile",
    "ScatterUpdate", "ScatterNDUpdate", "ScatterElementsUpdate", "Select", "ShapeOf", "Squeeze",
    "Unsqueeze",
}  # fmt: skip
FIRST = -1
# Of a node that is a whole layer, until it is told as its parts. What the layer times -> its kind.
LAYER_KIND = "layer"
PARTS = {"products": "products", "attention": "attention", "norms": "norms",
         "quantization": "elementwise"}  # fmt: skip


class ProfiledOpenVinoEngine(OpenVinoEngine):
    """Counts what each node of its programs takes.

    OpenVINO tells the mean of all runs since a program was compiled, in whole microseconds, and
    with several streams the mean of the one that ran last. So each stream is a program of its own
    here, and what a span of runs took is a difference of sums: right to about a microsecond a node.
    """

    name = "openvino, profiled"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._counts: dict[Program, _Counts] = {}
        self._lanes: dict[tuple[bool, int, int], Program] = {}
        # Parts of the batch that were started.
        self._started = 0

    def _config(self, streams: int) -> dict[str, Any]:
        own = {"INFERENCE_NUM_THREADS": max(1, self.threads // streams), "NUM_STREAMS": 1}
        # Programs that know nothing of each other would all be pinned to the first cores.
        return super()._config(streams) | own | {"PERF_COUNT": True, "ENABLE_CPU_PINNING": False}

    def _compiled(self, program: tuple[bool, int]) -> Program:
        dense, streams = program
        lane = (dense, streams, self._started % streams)
        if lane not in self._lanes:
            self._lanes[lane] = made = self._compile(dense, streams)
            self._counts[made] = _Counts(self._known(made))
        return self._lanes[lane]

    def _start(self, part: PackedBatch, parts: int) -> RunningPart:
        started = super()._start(part, parts)
        self._counts[started.program].ran(started)
        self._started += 1
        return started

    def close(self) -> None:
        """Drop every program and its counters."""
        self._counts.clear()
        self._lanes.clear()
        super().close()

    def profile(self, batches: Sequence[PackedBatch], *, repeat: int, warmup: int = 3) -> Profile:
        """Answer batches one after another, again and again, and read the counters.

        Raises:
            InputError: as :meth:`~xopt.engines.base.Engine.run`.
        """
        # Once at least, so that every program has a first reading.
        for _ in range(max(1, warmup)):
            self._answer(batches)
        before = {program: counts.spent() for program, counts in self._counts.items()}
        inside = self._inside()
        wall = available = 0.0
        for _ in range(repeat):
            taken, had = self._answer(batches)
            wall, available = wall + taken, available + had
        shares = self._inside() - inside
        operations: list[Operation] = []
        for program, counts in self._counts.items():
            for first, last in zip(before[program], counts.spent(), strict=True):
                mean = max(0.0, last.seconds - first.seconds) / repeat
                operations.extend(_parts(replace(last, seconds=mean), shares))
        return Profile(repeat, wall / repeat, available / repeat, tuple(operations))

    def _answer(self, batches: Sequence[PackedBatch]) -> tuple[float, float]:
        """Seconds of one run, and those that the streams together had for it."""
        wall = available = 0.0
        for batch in batches:
            self._started = 0
            begin = time.perf_counter()
            self.run(batch)
            taken = time.perf_counter() - begin
            used = 1 if self._started == 1 else self.streams
            wall, available = wall + taken, available + taken * used
        return wall, available

    def _inside(self) -> NDArray[np.int64]:
        """Nanoseconds that each layer of our own spent in each of :data:`PARTS`."""
        return layer_times(load_attention(open_core()), self._layers)

    def _known(self, program: Program) -> dict[str, list[tuple[str, str]]]:
        """Name of a node -> its kind and place; several, in order, where nodes share the name."""
        source = self.packed_model or self._read()
        places = places_of(source, self._layers)
        kinds = {node.get_friendly_name(): node.get_type_name() for node in source.get_ops()}
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        reached: dict[int, int] = {}
        for node in program.model.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            made_of = _text(info, "originalLayersNames").split(",")
            own = [places[name] for name in made_of if name in places]
            before = [reached.get(value.get_node().get_instance_id(), FIRST) for value in
                      node.input_values()]  # fmt: skip
            place = max([min(own, default=FIRST), *before])
            reached[node.get_instance_id()] = place
            types = {kinds[name] for name in made_of if name in kinds}
            kind = classify(_text(info, "layerType"), types, weights=_has_weights(node))
            title = _title(place, self._layers)
            if title == HEAD and kind == "elementwise":
                # Pooling sums and divides.
                kind = "gathers"
            found[node.get_friendly_name()].append((kind, title))
        return found

    @property
    def _layers(self) -> int:
        return int(self.bundle.manifest["shape"]["layers"])


def _parts(operation: Operation, shares: NDArray[np.int64]) -> list[Operation]:
    """An operation; a whole layer as its parts, each with its share of the layer's time."""
    if operation.kind != LAYER_KIND:
        return [operation]
    own = shares[int(operation.place)]
    whole = max(1, int(own.sum()))
    return [
        replace(operation, name=f"{operation.name}.{part}", kind=kind,
                seconds=operation.seconds * float(spent) / whole)
        for (part, kind), spent in zip(PARTS.items(), own, strict=True)
    ]  # fmt: skip


class _Counts:
    """The counters of one program of one stream.

    Args:
        nodes: name -> kind and place of each node of that name, in order.
    """

    def __init__(self, nodes: Mapping[str, list[tuple[str, str]]]) -> None:
        self._nodes = nodes
        self._runs = 0
        self._last: RunningPart | None = None

    def ran(self, part: RunningPart) -> None:
        """A part was started."""
        self._runs += 1
        self._last = part

    def spent(self) -> list[Operation]:
        """Each node with the seconds of all runs until now."""
        if self._last is None:
            return []
        left = {name: deque(found) for name, found in self._nodes.items()}
        table = []
        for info in self._last.request.profiling_info:
            found = left.get(info.node_name)
            if found:
                kind, place = found.popleft() if len(found) > 1 else found[0]
                seconds = self._runs * info.real_time.total_seconds()
                table.append(Operation(info.node_name, kind, place, seconds))
        return table


def classify(layer_type: str, types: set[str], *, weights: bool) -> str:
    """The kind of a compiled node; ``layer`` of one that is a whole layer.

    Args:
        layer_type: as OpenVINO's CPU plugin names it.
        types: of the operations of the model that it was made of, as far as they are known.
        weights: whether a constant is one of its inputs.
    """
    if "PackedLayer" in types:
        return LAYER_KIND
    if layer_type == "ScaledDotProductAttention" or types & {"Softmax", "PackedAttention"}:
        return "attention"
    if layer_type in PRODUCTS:
        # Attention's products are of two values that both depend on the text.
        return "products" if weights else "attention"
    if layer_type == "Softmax":
        return "attention"
    if layer_type in NORMS:
        return "norms"
    return "gathers" if layer_type in MOVES else "elementwise"


def places_of(model: Any, layers: int) -> dict[str, int]:
    """Name of each operation -> its layer; -1 before the first one, ``layers`` behind the last.

    A layer is told by the names of its weights: an operation is in the last layer whose weights its
    value has met, and behind the last layer where no more of that layer's weights follow.

    Args:
        model: ``openvino.Model``, as it was read.
        layers: how many there are.
    """
    order = list(model.get_ordered_ops())
    reached: dict[int, int] = {}
    fixed: set[int] = set()
    reads: set[int] = set()
    for node in order:
        number, kind = node.get_instance_id(), node.get_type_name()
        named = layer_of(node) if kind == "Constant" else FIRST
        sources = [value.get_node().get_instance_id() for value in node.input_values()]
        reached[number] = max([named, *(reached[s] for s in sources)])
        if kind == "Constant" or (sources and all(source in fixed for source in sources)):
            # A weight, or a part of what makes one of integers and scales.
            fixed.add(number)
        elif any(source in fixed and reached[source] == layers - 1 for source in sources):
            reads.add(number)
    # Whatever leads to a weight of the last layer is not behind it.
    inside: set[int] = set()
    for node in reversed(order):
        if node.get_instance_id() in reads | inside:
            inside.add(node.get_instance_id())
            inside.update(value.get_node().get_instance_id() for value in node.input_values())
    found = {}
    for node in order:
        number = node.get_instance_id()
        behind = reached[number] == layers - 1 and number not in inside
        found[node.get_friendly_name()] = layers if behind else reached[number]
    return found


def _has_weights(node: Any) -> bool:
    kinds = (_text(v.get_node().get_rt_info(), "layerType") for v in node.input_values())
    return "Const" in kinds


def _text(info: Mapping[str, Any], key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _title(place: int, layers: int) -> str:
    if place < 0:
        return EMBEDDINGS
    return HEAD if place >= layers else str(place)
