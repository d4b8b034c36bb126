"""Building an engine out of a lowered graph: one way for TensorRT and TensorRT-RTX."""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from xopt.artifacts import LoweredGraph
from xopt.engines.building import Builder, Built, Context
from xopt.engines.tensorrt.child import run_child
from xopt.engines.tensorrt.compat import RunsOn
from xopt.engines.tensorrt.feeds import INDEX_TYPE
from xopt.engines.tensorrt.graph import check_graph, graph_inputs
from xopt.engines.tensorrt.network import Request
from xopt.engines.tensorrt.options import SlotOptions
from xopt.engines.tensorrt.portable import copy_portable
from xopt.engines.tensorrt.profiles import LengthProfile, plan_profiles
from xopt.engines.tensorrt.runtime import ENGINE
from xopt.progress import Progress

__all__ = ["EngineBuilder", "engine_facts"]

S = TypeVar("S", bound=SlotOptions)


class EngineBuilder(Builder[S, Context]):
    """A lowered graph to an engine; a subclass says what its library is asked for beside that."""

    # The Python module of the library.
    module = "tensorrt"
    reads_lengths = True

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``engine.trt``, ``portable/`` and what was read of the engine.

        Raises:
            MissingExtraError: the library is not installed.
            UnsupportedError: it cannot build this, or not here.
            BuildError: it refused or died.
        """
        return self._build(context, context.lower(), out, progress)

    def _build(
        self, context: Context, lowered: LoweredGraph, out: Path, progress: Progress
    ) -> Built:
        runs_on = self._runs_on()
        manifest = lowered.manifest
        check_graph(lowered.path, layers=manifest["layers"], plugins=self._plugins())
        inputs = graph_inputs(lowered.path)
        profiles = plan_profiles(
            context.lengths,
            max_tokens=manifest["max_tokens"],
            batch_tokens=self.options.batch_tokens,
            padded="pad_index" in inputs,
        )
        with tempfile.TemporaryDirectory(prefix="xopt-trt-") as scratch:
            log = Path(scratch) / "build.log"
            request = Request(
                module=self.module,
                graph=str(lowered.path),
                engine=str(out / ENGINE),
                log=str(log),
                profiles=tuple(
                    {name: [list(shape) for shape in three] for name, three in shapes.items()}
                    for shapes in (profile.shapes(inputs) for profile in profiles)
                ),
                **self._wishes(out),
            )
            begin = time.perf_counter()
            self._compile(request, progress)
            seconds = time.perf_counter() - begin
            found = self._read_back(lowered, out, log)
        copy_portable(self._portable(context, lowered), out)
        return Built(lowered, engine_facts(out, runs_on, profiles, inputs, seconds) | found)

    @abstractmethod
    def _runs_on(self) -> RunsOn:
        """What the engine will run on; raises where it cannot be built here."""

    @abstractmethod
    def _wishes(self, out: Path) -> dict[str, Any]:
        """Fields of the request that only this library has."""

    @abstractmethod
    def _read_back(self, lowered: LoweredGraph, out: Path, log: Path) -> dict[str, Any]:
        """Facts for the manifest out of what was built; raises where it is not what was asked."""

    def _compile(self, request: Request, progress: Progress) -> None:
        run_child(request, progress)

    def _plugins(self) -> tuple[str, ...]:
        """Domains of the plugins that the graph may have."""
        return ()

    def _portable(self, context: Context, lowered: LoweredGraph) -> LoweredGraph:
        """The graph that any ONNX runtime reads."""
        return lowered


def engine_facts(
    out: Path,
    runs_on: RunsOn,
    profiles: Sequence[LengthProfile],
    inputs: dict[str, list[str | int]],
    seconds: float,
) -> dict[str, Any]:
    """What a bundle's manifest says of every engine of TensorRT.

    Args:
        out: the folder that holds it.
        runs_on: what it runs on.
        profiles: that it was built for.
        inputs: ``input -> shape`` with the names of the axes.
        seconds: that the library took.
    """
    return {
        "library": f"{runs_on.library} {runs_on.version}",
        "version": runs_on.version,
        "runs_on": runs_on.manifest(),
        "runs_on_text": runs_on.describe(),
        "profiles": [profile.bounds() for profile in profiles],
        "inputs": inputs,
        "indices": INDEX_TYPE,
        "build_s": round(seconds, 2),
        "engine_mib": round((out / ENGINE).stat().st_size / 2**20, 2),
    }
