"""The tiles of both attention kernels.

A tile follows from the model and, in its rows, from the lengths that a bundle was built for. It
never follows the lengths of a batch, neither the longest nor any other, so that a captured launch
serves every batch of its shape, and a sentence's answer is the same to the last bit whoever its
batch mates are. What the compiled code of each takes is in docs/gpu.md.
"""

from __future__ import annotations

import torch

from xopt.engines.kernels.checks import KernelInputError
from xopt.engines.kernels.tiles import Tile

__all__ = ["REGISTERS", "ROWS", "attention_int8_tile", "attention_tile"]

# Rows of queries that a tile may have; the first is for long sentences.
ROWS = (128, 64)
# So many registers a thread let two blocks of 8 warps, or four of 4, into an SM, which hides the
# softmax of one behind the products of another.
REGISTERS = 128


def attention_tile(
    head_dim: int, dtype: torch.dtype, rows: int = ROWS[0], quantized: bool = False
) -> Tile:
    """The tile of floating-point attention.

    Args:
        head_dim: 32, 64 or 128. At 128 only a tile of 64 rows lets two blocks into an SM.
        dtype: of the activations.
        rows: one of :data:`ROWS`.
        quantized: whether the result is int8. That form takes registers that a step of as many keys
            as without would spill.

    Raises:
        KernelInputError: there is no tile of so many rows.
    """
    _check(rows)
    if dtype == torch.float32:
        return Tile(block_m=32, block_n=32, num_warps=4, num_stages=1)
    if head_dim == 128:
        return Tile(block_m=64, block_n=16 if quantized else 32, num_warps=4, num_stages=2)
    if rows == 64:
        # With 64 keys a step it spills, or three blocks of 4 warps are all that fit.
        return Tile(64, 32, num_warps=4, num_stages=3, max_registers=REGISTERS)
    keys = 32 if quantized and head_dim == 64 else 64
    return Tile(128, keys, num_warps=8, num_stages=3, max_registers=REGISTERS)


def attention_int8_tile(head_dim: int, rows: int = ROWS[0]) -> Tile:
    """The tile of INT8 attention; arguments and errors as for :func:`attention_tile`."""
    _check(rows)
    if head_dim == 128:
        return Tile(block_m=64, block_n=32, num_warps=4, num_stages=2)
    if rows == 64:
        # With 64 keys a step Triton 3.6 spills.
        return Tile(64, 32, num_warps=4, num_stages=3, max_registers=REGISTERS)
    # No bound on registers: 128 are taken on most SMs as it is, and with one Triton 3.6 spills.
    return Tile(128, 64, num_warps=8, num_stages=3)


def _check(rows: int) -> None:
    if rows not in ROWS:
        raise KernelInputError(f"rows is {rows}; attention has tiles of 128 and 64 rows.")
