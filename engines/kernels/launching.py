"""Launches that follow each other closely, on SM 90 and newer.

A kernel's programs may be set up while those of the kernel before it still run (programmatic
dependent launch). Each kernel begins by letting the next one be set up, and waits until the one
before it has ended and its results can be read. It does so in every program, before it reads or
writes anything: so whatever ran earlier in the stream has ended too, and memory may be used again
as between kernels that do not overlap.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from xopt.engines.kernels.checks import capability
from xopt.engines.kernels.spec import OPTIONS

__all__ = ["OLDEST_DEPENDENT_SM", "follow", "launch_options"]

OLDEST_DEPENDENT_SM = 90


@triton.jit
def follow(DEPENDENT: tl.constexpr):
    """Let the next kernel be set up, and wait for the results of the one before."""
    if DEPENDENT:
        gdc_launch_dependents()
        gdc_wait()


def launch_options(device: torch.device) -> dict[str, Any]:
    """What every launch on ``device`` is given beside its tile."""
    new = device.type == "cuda" and capability(device.index) >= OLDEST_DEPENDENT_SM
    return {**OPTIONS, "DEPENDENT": new, "launch_pdl": new}
