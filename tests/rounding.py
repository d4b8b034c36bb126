"""What a precision costs at the least care: the yardstick for every answer of a lower precision.

Plain PyTorch, without anything of ours that makes INT8 better: each product's input and weights in
the layers are rounded, to fp16 or to 127 steps of the largest value (one step for an input, one for
each row of weights). An answer of ours has other roundings of the same size in the same places, so
its error is of the same size; one in twice as many places (attention's too) is larger by the
square root of 2, as independent errors add in squares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.packing import PackedBatch

__all__ = ["MARGIN", "WIDER", "distance", "rounding_error"]

LEVELS = 127
# Two draws of errors of one size: an answer of a few values can have the larger one.
MARGIN = 1.5
# Roundings in twice as many places, of which plain rounding has none: attention, norms, residuals.
WIDER = MARGIN * 2**0.5


def distance(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """The error's length in the answer's."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def rounding_error(checkpoint: Checkpoint, batch: PackedBatch, precision: str) -> float:
    """The distance of an answer that is rounded plainly from fp32's, for ``fp16`` or ``int8``."""
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    model = PackedEncoder.load(checkpoint)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("layers."):
            module.weight = nn.Parameter(_rounded(module.weight, precision, dim=1), False)
            module.register_forward_pre_hook(
                lambda _, given: (_rounded(given[0], precision, dim=None),)
            )
    return distance(model.run(batch).numpy(), exact)


def _rounded(values: Tensor, precision: str, dim: int | None) -> Tensor:
    if precision == "fp16":
        return values.half().float()
    reach = values.abs().max() if dim is None else values.abs().amax(dim, keepdim=True)
    step = (reach / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
    return (values / step).round() * step
