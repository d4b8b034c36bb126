"""OpenVINO on any CPU: the engine of the base install.

A batch runs as whole sentences in two ways: a small one on all cores at once, a large one cut into
groups, one per core and stream, which need no synchronisation between cores. Attention is our own
operation over the packed batch where it can be compiled (``openvino_native``). Elsewhere it is
OpenVINO's over padding: groups then hold like lengths, and a program exists in two forms: packed,
with a gather around attention, and dense, for groups in which nothing is padded, without it. In
INT8 there is the packed one alone, and a group holds sentences of one width: the last bit of a sum,
which may send a value to the next integer, then does not depend on batch mates.
"""

from __future__ import annotations

import time
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.disk_errors import disk_error
from xopt.engines.base import Engine
from xopt.engines.building import Builder, Built, Context
from xopt.engines.cpu import CpuOptions, check_numbers_fit, check_width_fits, facts_of
from xopt.engines.openvino_attention import packed_attention, packed_mean
from xopt.engines.openvino_graph import drop_gathers, join_divisions, same_blocks, share_products
from xopt.engines.openvino_layer import form_of, packed_layers, suits_here
from xopt.engines.openvino_native import load_attention
from xopt.engines.openvino_parts import (
    KEPT_KERNELS,
    RUNNING,
    Program,
    RunningPart,
    check_process,
    kernel_of,
    refused,
    start,
)
from xopt.engines.openvino_sizes import fill, whole
from xopt.engines.openvino_tidy import name_nodes, tidy
from xopt.errors import BuildError, InputError, XoptError, require
from xopt.grouping import balanced_groups, length_groups, padded_width, width_groups
from xopt.host import check_count, cpu_count
from xopt.packing import PackedBatch
from xopt.progress import Progress

__all__ = ["OpenVinoBuilder", "OpenVinoEngine", "open_core"]

# A slot of padded attention costs as much as this many tokens through the linear layers: B·S² slots
# of 4·hidden multiply-adds in fp32 against 24·hidden² in INT8, at the speeds measured on AVX-512.
SLOT_COST = 1 / 1000
# The same of our own attention, whose share falls with the width of the linear layers.
PACKED_SLOT_COST = 0.8
# Below this many tokens a core, cutting a batch costs more than it saves.
GROUP_TOKENS = 48
# Kinds of nodes that an engine's description counts.
SHOWN = ("PackedLayer", "FullyConnected", "MatMul", "Subgraph", "ScaledDotProductAttention")


@cache
def open_core() -> Any:
    """The one ``openvino.Core`` of this process, which lives as long as it.

    The CPU plugin of each core gives the thread another signal stack and puts the one before back
    when it goes. Where cores go in another order than last in, first out, a freed stack is put back
    (OpenVINO 2026.4), and the next signal, such as Ctrl-C, is a segmentation fault.
    """
    return require("openvino", extra="build", why="Running on the CPU").Core()


class OpenVinoEngine(Engine):
    """A compiled model for every way a batch can run, each made when first needed.

    A stream takes its next part as soon as its last one is done, so with a batch waiting behind the
    one that runs no core waits for another. Engines of one process take turns where their parts
    together would keep more cores busy than there are.

    Args:
        bundle: of the target ``openvino``.
        threads: cores to use; by default all that this process may keep busy.
        streams: parts of a batch that run side by side, each on its share of the cores; as many as
            cores by default.
        own_attention: whether our own attention is used where it can be had. With it an answer has
            the same bits alone and in any batch, and with OpenVINO's in INT8 too, where a sentence
            is padded to a width of its own kind. Else sums over padding end in another last bit:
            answers of size 1 differ by 1e-5 at most in fp32 and fp16.

    Raises:
        InputError: a count is not in 1..1024, there are more streams than threads, or this is a
            fork of a process whose model had answered.
        UnsupportedError: the bundle's INT8 numbers do not hold on this CPU, or its width does not.
    """

    name = "openvino"
    ahead = 1

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        streams: int | None = None,
        own_attention: bool = True,
    ) -> None:
        super().__init__(bundle)
        check_process()
        check_numbers_fit(bundle.manifest, bundle.folder)
        check_width_fits(bundle.manifest, bundle.folder)
        self.openvino = require("openvino", extra="build", why="Running this bundle")
        self.threads = check_count("threads", cpu_count() if threads is None else threads)
        self.streams = check_count("streams", self.threads if streams is None else streams)
        if self.streams > self.threads:
            raise InputError(
                f"--streams is {self.streams}, more than the threads: {self.threads}.",
                hint=f"Ask for at most --streams {self.threads}, or --threads {self.streams}.",
            )
        self._own_attention = own_attention
        self._programs: dict[tuple[bool, int], Program] = {}

    @classmethod
    def load_library(cls) -> None:
        """OpenVINO, its core and our operations."""
        load_attention(open_core())

    @cached_property
    def packed_model(self) -> Any:
        """The model with our own attention; None where it has to stay OpenVINO's."""
        if not self._own_attention:
            self.attention = "OpenVINO's, as asked"
            return None
        native = load_attention(open_core())
        if native.factory is None:
            self.attention = f"OpenVINO's: {native.reason}"
            return None
        begin = time.perf_counter()
        model, whole = self._read(), self.bundle.precision == "int8"
        given = self.openvino, model, native.factory
        changed = packed_attention(*given, whole=whole, window=self.signature.window)
        if changed:
            packed_mean(*given)
            if whole and suits_here():
                packed_layers(*given)
        self.attention = "packed" if changed else "OpenVINO's: this encoder's is of another kind"
        self.prepare_s += time.perf_counter() - begin
        return model if changed else None

    @property
    def form(self) -> str:
        """``packed``, or ``OpenVINO's`` attention."""
        self.prepare()
        return self.attention.partition(":")[0]

    @property
    def lanes(self) -> int:
        """A lane for each stream; one where padded attention wants like lengths in its groups."""
        return 1 if self.packed_model is None else self.streams

    @property
    def _by_width(self) -> bool:
        """Whether sums over padding are rounded to 8 bits, so that its width has to stay."""
        return self.packed_model is None and self.bundle.precision == "int8"

    def prepare(self) -> None:
        """Read the model, with our own attention in it."""
        _ = self.packed_model

    @property
    def _running(self) -> list[RunningPart]:
        return [part for part in RUNNING if part.engine is self]

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        return self._start(part, 1).take()

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """One group per stream where the batch is large enough; at least one per width in INT8."""
        wanted = max(1, min(self.streams, batch.sentences, batch.tokens // GROUP_TOKENS))
        if self._by_width:
            return width_groups(batch.lengths, wanted, slot_cost=SLOT_COST)
        if wanted == 1:
            return super().plan(batch)
        if self.packed_model is None:
            return length_groups(batch.lengths, wanted, slot_cost=SLOT_COST)
        cost = PACKED_SLOT_COST / int(self.bundle.manifest["shape"]["hidden"])
        return balanced_groups(batch.lengths, wanted, slot_cost=cost)

    def _start(self, part: PackedBatch, parts: int) -> RunningPart:
        """Start a part: on a stream of its own, or on all cores if it is the only one."""
        window, per_token = self.signature.window, self.signature.per_token
        packed = self.packed_model is not None
        if self._by_width:
            part = part.padded(padded_width(part.longest))
        like = not packed and not self._by_width and part.is_dense
        dense = like and same_blocks(part.arrays(window))
        compiled = self._compiled((dense, 1 if parts == 1 else self.streams))
        if dense:
            feed = whole(part, compiled.inputs, window=window, per_token=per_token)
        else:
            feed = fill(part, compiled.inputs, window=window, packed=packed, per_token=per_token)
        request = compiled.idle.pop() if compiled.idle else compiled.model.create_infer_request()
        started = RunningPart(self, compiled, request, feed, part.tokens)
        start(started)
        return started

    def _compiled(self, program: tuple[bool, int]) -> Program:
        if program not in self._programs:
            begin = time.perf_counter()
            self._programs[program] = self._compile(*program)
            self.prepare_s += time.perf_counter() - begin
        return self._programs[program]

    def _read(self) -> Any:
        try:
            return open_core().read_model(self.bundle.folder / "model.xml")
        except RuntimeError as error:
            raise refused(error) from error

    def _compile(self, dense: bool, streams: int) -> Program:
        model = self.packed_model or self._read()
        if dense:
            drop_gathers(self.openvino, model)
        return Program.make(open_core(), model, self._config(streams), self.threads, streams)

    def _config(self, streams: int) -> dict[str, Any]:
        """The CPU plugin's options for a program."""
        return {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": streams,
            # bf16 between the products would make an answer depend on the machine.
            "INFERENCE_PRECISION_HINT": "f32",
            # For each kind of kernel, of those used last; where sizes are rounded there are fewer.
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_KERNELS,
        }

    def close(self) -> None:
        """Drop every program."""
        for part in self._running:
            part.drop()
        self._programs.clear()
        vars(self).pop("packed_model", None)

    def describe(self) -> dict[str, Any]:
        """Library version, cores, and what each kind of operation was compiled to."""
        program = self._compiled((False, 1))
        kernels: dict[str, int] = {}
        for node in program.model.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = str(info["layerType"].astype(str)) if "layerType" in info else "?"
            form = kernel_of(info)
            name = str(info["originalLayersNames"].astype(str))
            if kind == "Reference" and "PackedLayer" in name:
                kind, form = "PackedLayer", form_of(name)
            if kind in SHOWN:
                said = f"{kind} {form}"
                kernels[said] = kernels.get(said, 0) + 1
        return {
            "engine": self.name,
            "version": self.openvino.get_version(),
            "threads": self.threads,
            "streams": self.streams,
            "attention": self.attention,
            "kernels": dict(sorted(kernels.items())),
        }


class OpenVinoBuilder(Builder[CpuOptions, Context]):
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
            # Here and not where it runs, so that no first answer waits for it.
            for change in (tidy, share_products, join_divisions, name_nodes):
                change(openvino, model)
            openvino.save_model(model, out / "model.xml", compress_to_fp16=False)
        except XoptError:
            raise
        except Exception as error:
            if disk_error(error) is not None:
                # Whoever publishes the folder says where.
                raise
            raise BuildError(f"OpenVINO could not convert the graph: {error}.") from error
        # So that the first answer on this machine does not wait for the compiler.
        load_attention(open_core())
        facts = facts_of(lowered.manifest["lowering"])
        return Built(lowered, {"openvino": openvino.get_version(), **facts})
