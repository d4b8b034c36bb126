"""A tile of a matrix product whose summed dimension is cut into parts, one program each.

A short batch has fewer tiles than a GPU has multiprocessors. Each program writes its part of the
sums and counts itself in; the last one adds all parts up, in their order whoever came last, and
goes on to the epilogue. It also sets the count back to 0, so that the next launch, or the next
replay of a CUDA graph, begins as this one did.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from xopt.engines.kernels.checks import KernelInputError
from xopt.engines.kernels.tiles import Tile

__all__ = ["MOST_TILES", "add_parts", "bring_part", "part_arguments"]

# More than there are multiprocessors, beyond which no product is cut into parts.
MOST_TILES = 1024


@triton.jit
def _first_part(sums, PARTS: tl.constexpr, SIZE: tl.constexpr):
    """Where the parts of this program's tile begin."""
    tile = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    return sums + tile.to(tl.int64) * (PARTS * SIZE)


@triton.jit
def bring_part(acc, sums, arrivals, PARTS: tl.constexpr):
    """Write this program's sums [rows, columns]; whether it is the last of its tile to do so."""
    ROWS: tl.constexpr = acc.shape[0]
    COLUMNS: tl.constexpr = acc.shape[1]
    place = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    first = _first_part(sums, PARTS, ROWS * COLUMNS)
    tl.store(first + tl.program_id(2) * (ROWS * COLUMNS) + place, acc)
    # All threads have written before one of them counts.
    tl.debug_barrier()
    tile = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    before = tl.atomic_add(arrivals + tile, 1, sem="acq_rel")
    if before == PARTS - 1:
        tl.store(arrivals + tile, 0)
    return before == PARTS - 1


@triton.jit
def add_parts(sums, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PARTS: tl.constexpr):
    """The sums of all parts of this program's tile, [rows, columns]."""
    place = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    first = _first_part(sums, PARTS, ROWS * COLUMNS)
    # Past the multiprocessor's own cache, which other programs' stores do not reach.
    total = tl.load(first + place, cache_modifier=".cg")
    for part in tl.static_range(1, PARTS):
        total += tl.load(first + part * (ROWS * COLUMNS) + place, cache_modifier=".cg")
    return total


def part_arguments(
    tile: Tile, x: torch.Tensor, out_features: int, dtype: torch.dtype,
    arrivals: torch.Tensor | None,
) -> dict[str, Any]:  # fmt: skip
    """What a kernel is given for ``tile.parts``: nothing where the product is whole.

    Args:
        tile: of the product.
        x: ``[T, in]``.
        out_features: columns of the result.
        dtype: of the sums.
        arrivals: ``[MOST_TILES]`` int32 zeros, which the launch leaves as zeros; no two launches
            that may overlap share them. New ones without it.
    """
    if tile.parts == 1:
        return {"sums": None, "arrivals": None, "PARTS": 1}
    tiles = triton.cdiv(x.shape[0], tile.block_m) * triton.cdiv(out_features, tile.block_n)
    if tiles > MOST_TILES or triton.cdiv(x.shape[1], tile.block_k) % tile.parts:
        raise KernelInputError(
            f"{tiles} tiles of {x.shape[1]} values a sum cannot be cut into {tile.parts} parts: at"
            f" most {MOST_TILES} tiles can, in parts of equally many steps of {tile.block_k}."
        )
    if arrivals is None:
        arrivals = torch.zeros(MOST_TILES, dtype=torch.int32, device=x.device)
    size = (tiles, tile.parts, tile.block_m * tile.block_n)
    sums = torch.empty(size, dtype=dtype, device=x.device)
    return {"sums": sums, "arrivals": arrivals, "PARTS": tile.parts}
