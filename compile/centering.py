"""Keys and values without their mean before they are quantized: ``softmax(Q·Kᵀ)·V`` is the same.

The mean of the keys adds the same number to all scores of a query, which softmax does not see. The
mean of the values comes out as it went in, because probabilities add up to one, so the layer behind
attention takes it into its bias (SageAttention, Zhang et al., 2024, and SageAttention2, 2025). What
is left has a smaller range, and rounded probabilities, which add up to less than one, no longer
lose a part of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.sites import Site
from xopt.encoders.plan import Attend, Op

__all__ = ["center_attention"]

Array = NDArray[np.float32]


def center_attention(ops: Iterable[Op], sites: Mapping[str, Site], state: dict[str, Array]) -> None:
    """Change the biases among the tensors of an encoder, by the names of its plan."""
    for layer in (op.layer for op in ops if isinstance(op, Attend)):
        key, value = sites[f"{layer}.k"].middle, sites[f"{layer}.v"].middle
        assert key is not None
        assert value is not None
        moved = np.concatenate([np.zeros_like(key), key, value])
        qkv, output = f"{layer}.qkv.bias", f"{layer}.attention_output.bias"
        taken = state[f"{layer}.attention_output.weight"] @ value
        state[qkv] = (state[qkv] - moved).astype(np.float32)
        state[output] = (state[output] + taken).astype(np.float32)
