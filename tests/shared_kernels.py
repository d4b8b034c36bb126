"""What ``benchmarks/gpu_ahead.py`` compiles without a GPU, as JSON, for its test.

Triton is told of an H100, whose compiler it has; nothing can be launched there.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gpu_ahead
import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from xopt.engines import kernels
from xopt.engines.kernels import gelu

PROCESSES = 3


class Driver:
    """What compiling asks of a driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def work(widths: list[int], device: torch.device) -> None:
    """Eight different kernels, some of them twice."""
    for width in widths:
        for dtype in (torch.float16, torch.float32, torch.float16):
            kernels.bias_gelu(torch.zeros(4, width, dtype=dtype), torch.zeros(width))


def main() -> None:
    """Print how many each process compiled, and what a process finds that does all of it then."""
    found: list[bool] = []
    driver.set_active(Driver())  # type: ignore[arg-type]
    gelu.require_device = lambda *tensors: None  # type: ignore[assignment]
    knobs.compilation.listener = lambda **told: found.append(told["cache_hit"])
    shares, widths = [], [64, 256, 768, 3072]
    for number in range(PROCESSES):
        with gpu_ahead.sharing(number, PROCESSES) as compiled:
            work(widths, torch.device("cpu"))
        shares.append(len(compiled))
    made, found[:] = list(found), []
    # As in a new process.
    gelu._bias_gelu_kernel.device_caches.clear()
    with gpu_ahead.sharing(0, 1):
        work(widths, torch.device("cpu"))
    rows: dict[str, Any] = {"shares": shares, "made": made, "found": found}
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
