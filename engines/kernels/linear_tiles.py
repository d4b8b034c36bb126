"""Which tiles of the linear kernels are worth a measurement, for a shape and a device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton

from xopt.engines.kernels.checks import capability
from xopt.engines.kernels.tiles import Tile

__all__ = [
    "STRIDE_BYTES",
    "Gpu",
    "gpu_of",
    "linear_gelu_candidates",
    "linear_int8_candidates",
    "linear_int8_tile",
]

# What a descriptor of bulk copies asks of a row; the SMs where two blocks with them fit and nothing
# spills, and those where that holds for resident programs too.
STRIDE_BYTES, BULK_SMS, RESIDENT_SMS = 16, (90, 100), (90,)
# What the last program of a tile reads of the others' sums grows with each part.
MOST_PARTS = 8
FEW_ROWS, SHORT_ROWS = 16, 32


@dataclass(frozen=True)
class Gpu:
    """What a choice of tiles depends on; an H100 where no device is asked.

    Attributes:
        sm: compute capability, as 10 · major + minor.
        processors: multiprocessors.
    """

    sm: int = 90
    processors: int = 132


def gpu_of(device: torch.device) -> Gpu:
    """Of a CUDA device; of an H100, where kernels are interpreted."""
    if device.type != "cuda":
        return Gpu()
    count = torch.cuda.get_device_properties(device).multi_processor_count
    return Gpu(capability(device.index), count)


def linear_int8_tile(tokens: int) -> Tile:
    """The tile for a batch of ``tokens`` tokens."""
    if tokens <= 64:
        return Tile(block_m=64, block_n=64, num_warps=4, num_stages=4, block_k=128)
    # So many registers let two blocks into an SM; scales per channel took two more on SM 90.
    return Tile(128, 128, num_warps=8, num_stages=4, block_k=64, max_registers=128)


def linear_int8_candidates(
    tokens: int, out_features: int, in_features: int, gpu: Gpu
) -> list[Tile | None]:
    """What is worth a measurement for this shape, the default first; None is the library."""
    found: list[Tile | None] = [linear_int8_tile(tokens)]
    if tokens <= 64:
        # Narrow tiles, so that a short batch still gives work to many multiprocessors.
        found.append(Tile(block_m=64, block_n=32, num_warps=4, num_stages=4, block_k=128))
        found.append(Tile(block_m=32, block_n=32, num_warps=2, num_stages=4, block_k=128))
        found.append(Tile(block_m=16, block_n=128, num_warps=4, num_stages=3, block_k=128))
        rows = FEW_ROWS if tokens <= FEW_ROWS else SHORT_ROWS if tokens <= SHORT_ROWS else 64
        narrow = Tile(rows, 32, num_warps=4 if rows == 64 else 2, num_stages=4, block_k=128)
    else:
        # One block an SM, for what it saves of reading: only where it was measured to be faster.
        found.append(Tile(block_m=128, block_n=256, num_warps=8, num_stages=3, block_k=128))
        found.append(Tile(block_m=64, block_n=128, num_warps=4, num_stages=3, block_k=128))
        narrow = Tile(block_m=64, block_n=64, num_warps=4, num_stages=4, block_k=128)
        found += _in_bulk(in_features, gpu, block_k=128)
    found += _in_parts(narrow, tokens, out_features, in_features, gpu.processors)
    # What torch._int_mm takes on CUDA.
    if tokens > 16 and out_features % 8 == 0 and in_features % 8 == 0:
        found.append(None)
    return found


def linear_gelu_candidates(
    tokens: int,
    dtype: torch.dtype,
    out_features: int,
    in_features: int,
    gpu: Gpu,
) -> list[Tile | None]:
    """What is worth a measurement for this shape, the default first; None is the library."""
    # No tensor core multiplies fp32 as it is.
    if dtype == torch.float32:
        return [None]
    narrow = Tile(64, 64, num_warps=4, num_stages=4, block_k=64)
    parts = _in_parts(narrow, tokens, out_features, in_features, gpu.processors)
    if tokens <= 64:
        return [narrow, *parts, None]
    return [
        Tile(128, 128, num_warps=8, num_stages=4, block_k=32, max_registers=128),
        Tile(128, 128, num_warps=8, num_stages=3, block_k=64),
        Tile(128, 256, num_warps=8, num_stages=3, block_k=64),
        *_in_bulk(2 * in_features, gpu, block_k=64),
        *parts,
        None,
    ]


def _in_bulk(row_bytes: int, gpu: Gpu, block_k: int) -> list[Tile]:
    """Tiles that are copied in bulk: a program each, and as many programs as fit."""
    if gpu.sm not in BULK_SMS or row_bytes % STRIDE_BYTES:
        return []
    tile = Tile(128, 128, num_warps=8, num_stages=3, block_k=block_k, max_registers=128, bulk=True)
    # The result's tile has a place of its own beside the next operands, so these have less.
    many = replace(tile, num_stages=4, block_k=block_k // 2, resident=2)
    return [tile, many] if gpu.sm in RESIDENT_SMS else [tile]


def _in_parts(
    tile: Tile, tokens: int, out_features: int, in_features: int, processors: int
) -> list[Tile]:
    """The tile with the summed dimension cut, if that gives work to idle multiprocessors.

    Parts are equal, of two steps or more.
    """
    tiles = triton.cdiv(tokens, tile.block_m) * triton.cdiv(out_features, tile.block_n)
    steps = triton.cdiv(in_features, tile.block_k)
    most = min(MOST_PARTS, triton.cdiv(processors, max(1, tiles)), steps // 2)
    parts = max((n for n in range(1, most + 1) if steps % n == 0), default=1)
    return [tile.in_parts(parts)] if parts > 1 else []
