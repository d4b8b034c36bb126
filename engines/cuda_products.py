"""Matrix products of the CUDA engine: each shape by what was fastest for it when it first came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from triton import knobs

from xopt.engines import kernels
from xopt.engines.kernels.linear import launch_linear_int8
from xopt.engines.kernels.linear_float import launch_linear_gelu
from xopt.engines.kernels.linear_tiles import (
    gpu_of,
    linear_gelu_candidates,
    linear_int8_candidates,
)
from xopt.engines.kernels.parts import MOST_TILES
from xopt.engines.kernels.tiles import Tile

__all__ = ["Products"]

TIMED_LAUNCHES = 10


class Products:
    """Matrix products of ours, each shape by what was fastest for it when it first came.

    The sums of INT8 are integers, so an answer is the same whichever is chosen.
    """

    def __init__(self) -> None:
        self.chosen: dict[tuple[int, int, int, bool, bool], Tile | None] = {}
        self._arrivals: Tensor | None = None

    def arrivals(self, device: torch.device) -> Tensor:
        """Of programs that share a tile: zeros between launches, kept as long as any graph."""
        if self._arrivals is None:
            self._arrivals = torch.zeros(MOST_TILES, dtype=torch.int32, device=device)
        return self._arrivals

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_gelu`."""
        out_features, in_features = weight.shape
        key = (len(x), out_features, in_features, True, False)
        arrivals = self.arrivals(x.device)

        def launch(tile: Tile | None) -> Tensor:
            return launch_linear_gelu(x, weight, bias, tile, arrivals)

        if key not in self.chosen:
            kernels.linear_gelu(x, weight, bias)
            shape = out_features, in_features, gpu_of(x.device)
            candidates = linear_gelu_candidates(len(x), x.dtype, *shape)
            self._choose(key, candidates, launch)
        return launch(self.chosen[key])

    def __call__(
        self, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, **epilogue: Any
    ) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_int8`."""
        operands = (x, weight, scale, bias)
        tokens, (out_features, in_features) = len(x), weight.shape
        quantized = epilogue.get("out_scale") is not None
        key = (tokens, out_features, in_features, bool(epilogue.get("gelu")), quantized)
        arrivals = self.arrivals(x.device)

        def launch(tile: Tile | None) -> Tensor:
            return launch_linear_int8(*operands, tile, arrivals=arrivals, **epilogue)

        if key in self.chosen:
            return launch(self.chosen[key])
        # Checks every argument, and compiles the default.
        out = kernels.linear_int8(*operands, **epilogue)
        shape = tokens, out_features, in_features, gpu_of(x.device)
        self._choose(key, linear_int8_candidates(*shape), launch)
        return out

    def _choose(
        self,
        key: tuple[int, int, int, bool, bool],
        candidates: list[Tile | None],
        launch: Callable[[Tile | None], Tensor],
    ) -> None:
        self.chosen[key] = candidates[0]
        if len(candidates) > 1 and not knobs.runtime.interpret:
            times = {tile: _time(launch, tile) for tile in candidates}
            self.chosen[key] = min(times, key=lambda tile: times[tile])
            # Memory of graphs that are gone is no one else's before.
            torch.cuda.empty_cache()


def _time(launch: Callable[[Tile | None], Tensor], tile: Tile | None) -> float:
    """Milliseconds of one launch; infinite where this GPU cannot do it.

    Replayed from a CUDA graph, as in use: one by one, short launches take as long as the processor
    needs to launch them.
    """
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    try:
        # Compiles; within a capture that is not allowed.
        launch(tile)
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin()
        try:
            for _ in range(TIMED_LAUNCHES):
                launch(tile)
        finally:
            graph.capture_end()
        graph.replay()
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
    # A tile that needs more shared memory than there is, or a shape the library refuses.
    except Exception:
        return float("inf")
    return float(start.elapsed_time(end)) / TIMED_LAUNCHES
