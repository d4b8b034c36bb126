"""Launches that follow each other closely, on SM 90 and newer.

A kernel's programs may be set up while those of the kernel before it still run (programmatic
dependent launch). Each kernel begins by letting the next one be set up, and waits until the one
before it has ended and its results can be read. It does so in every program, before it reads or
writes anything: so whatever ran earlier in the stream has ended too, and memory may be used again
as between kernels that do not overlap.

Not every driver takes such launches, or takes them into a graph. Before the first one two are
tried, alone and in a capture; where the driver refuses them, every launch is a plain one.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false

from __future__ import annotations

import logging
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from xopt.engines.kernels.checks import capability
from xopt.engines.kernels.spec import OPTIONS

__all__ = ["OLDEST_DEPENDENT_SM", "follow", "launch_options"]

OLDEST_DEPENDENT_SM = 90
log = logging.getLogger(__name__)
# Number of a device to whether its driver takes such launches; what was tried is not tried again.
_TAKEN: dict[int, bool] = {}


@triton.jit
def follow(DEPENDENT: tl.constexpr):
    """Let the next kernel be set up, and wait for the results of the one before."""
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()


@triton.jit
def _trial(numbers, DEPENDENT: tl.constexpr):
    follow(DEPENDENT)
    tl.store(numbers, tl.load(numbers) + 1)


def launch_options(device: torch.device) -> dict[str, Any]:
    """What every launch on ``device`` is given beside its tile."""
    new = device.type == "cuda" and capability(device.index) >= OLDEST_DEPENDENT_SM
    new = new and _is_taken(device)
    return {**OPTIONS, "DEPENDENT": new, "launch_pdl": new}


def _is_taken(device: torch.device) -> bool:
    """Whether the driver takes dependent launches; found out once, and told if it does not."""
    if device.index not in _TAKEN:
        if torch.cuda.is_current_stream_capturing():
            # Nothing else may be tried now.
            return False
        try:
            _try_out(device)
        except RuntimeError as error:
            log.warning(
                "The driver refuses launches that depend on each other (%s): kernels are launched "
                "one after the other. Answers are the same; a newer driver may be faster.",
                str(error).strip().partition("\n")[0],
            )
            _TAKEN[device.index] = False
        else:
            _TAKEN[device.index] = True
    return _TAKEN[device.index]


def _try_out(device: torch.device) -> None:
    """Two launches, and the same in a graph.

    Raises:
        RuntimeError: the driver refuses one, or its answer is wrong.
    """
    options: dict[str, Any] = {**OPTIONS, "DEPENDENT": True, "launch_pdl": True}
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(side):
        numbers = torch.zeros(1, dtype=torch.int32, device=device)

        def launch() -> None:
            for _ in range(2):
                _trial[(1,)](numbers, **options)

        launch()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            launch()
        graph.replay()
        found = int(numbers)
    if found != 4:
        raise RuntimeError(f"{found} of 4 launches were seen")
