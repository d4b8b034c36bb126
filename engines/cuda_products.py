"""Matrix products of the CUDA engine: each shape by what was fastest for it when it first came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from triton import knobs

from xopt.engines import kernels
from xopt.engines.kernels.linear import launch_linear_int8, linear_int8_candidates
from xopt.engines.kernels.linear_float import launch_linear_gelu, linear_gelu_candidates
from xopt.engines.kernels.tiles import Tile

__all__ = ["Products"]

WARM_LAUNCHES, TIMED_LAUNCHES = 2, 10


class Products:
    """Matrix products of ours, each shape by what was fastest for it when it first came.

    The sums of INT8 are integers, so an answer is the same whichever is chosen.
    """

    def __init__(self) -> None:
        self.chosen: dict[tuple[int, int, int, bool, bool], Tile | None] = {}

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_gelu`."""
        out_features, in_features = weight.shape
        key = (len(x), out_features, in_features, True, False)
        if key not in self.chosen:
            kernels.linear_gelu(x, weight, bias)
            candidates = linear_gelu_candidates(len(x), x.dtype)
            self._choose(key, candidates, lambda tile: launch_linear_gelu(x, weight, bias, tile))
        return launch_linear_gelu(x, weight, bias, self.chosen[key])

    def __call__(
        self, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, **epilogue: Any
    ) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_int8`."""
        operands = (x, weight, scale, bias)
        tokens, (out_features, in_features) = len(x), weight.shape
        quantized = epilogue.get("out_scale") is not None
        key = (tokens, out_features, in_features, bool(epilogue.get("gelu")), quantized)
        if key in self.chosen:
            return launch_linear_int8(*operands, self.chosen[key], **epilogue)
        # Checks every argument, and compiles the default.
        out = kernels.linear_int8(*operands, **epilogue)
        candidates = linear_int8_candidates(tokens, out_features, in_features)
        self._choose(key, candidates, lambda tile: launch_linear_int8(*operands, tile, **epilogue))
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


def _time(launch: Callable[[Tile | None], Tensor], tile: Tile | None) -> float:
    """Milliseconds of one launch; infinite where this GPU cannot do it."""
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    try:
        for number in range(WARM_LAUNCHES + TIMED_LAUNCHES):
            if number == WARM_LAUNCHES:
                start.record()
            launch(tile)
        end.record()
        end.synchronize()
    # A tile that needs more shared memory than there is, or a shape the library refuses.
    except Exception:
        return float("inf")
    return float(start.elapsed_time(end)) / TIMED_LAUNCHES
