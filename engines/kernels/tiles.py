"""How a packed batch is cut into the tiles that one GPU program works on.

Sentences of different lengths lie end to end, so a tile of ``BLOCK`` tokens has to find out which
sentence it serves. Sentence b is given the tiles that begin at ``cu_seqlens[b] // BLOCK + b``. That
leaves every sentence at least as many tiles as it needs, since

    (c + n) // BLOCK + 1 - c // BLOCK  >=  cdiv(n, BLOCK)      for all c, n >= 0,

and it needs no table: a program finds its sentence by counting the beginnings at or before its own
index. The grid, ``cdiv(T, BLOCK) + B`` tiles, depends on shapes alone, so a CUDA graph or a
TensorRT engine can hold the launch while the lengths change under it. Spare tiles return at once.

The tokens after the last sentence (a bucket's unused tail) are served as sentence B.
"""

# The arguments of a Triton kernel have no Python types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass, replace

import triton
import triton.language as tl

__all__ = ["Tile", "find_tile"]

LANES: tl.constexpr = tl.constexpr(128)
# Beyond every tile index, and far enough below 2**31 that adding a sentence index cannot overflow.
FAR: tl.constexpr = tl.constexpr(1 << 30)


@dataclass(frozen=True)
class Tile:
    """The work of one program, and how it is scheduled.

    Attributes:
        block_m: rows of the result (queries or tokens) per program.
        block_n: keys per step, or columns of the result.
        num_warps: warps of 32 threads per program.
        num_stages: depth of the software pipeline that prefetches the next steps.
        block_k: length of one step along the summed dimension, for matrix products; else 0.
        max_registers: most registers a thread may have; the assembler's choice without it.
        parts: programs that share the summed dimension (``parts.py``).
        bulk: whether operands come by bulk copies (``linear_bulk.py``).
        resident: programs an SM that work off all tiles, with ``bulk``; 0 for a program a tile.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    block_k: int = 0
    max_registers: int | None = None
    parts: int = 1
    bulk: bool = False
    resident: int = 0

    def in_parts(self, parts: int) -> Tile:
        """The same tile with each sum cut into so many parts."""
        return replace(self, parts=parts)


@triton.jit
def find_tile(cu_seqlens, tokens, sentences, BLOCK: tl.constexpr):
    """The sentence that this program's tile serves.

    Args:
        cu_seqlens: pointer to int32 [sentences + 1], beginning with 0 and never falling.
        tokens: T, the tokens in the batch with its unused tail.
        sentences: B.

    Returns:
        sentence (B for the unused tail), its first token, its length, and the tile's first row
        within it, which is at or past the length when the tile is spare.
    """
    tile = tl.program_id(0)
    # One coalesced load for up to 128 sentences, where a binary search would wait for a chain of
    # dependent ones.
    before = 0
    for first in range(0, sentences + 1, LANES):
        index = first + tl.arange(0, LANES)
        start = tl.load(cu_seqlens + index, mask=index <= sentences, other=FAR)
        before += tl.sum((start // BLOCK + index <= tile).to(tl.int32))
    sentence = before - 1
    start = tl.load(cu_seqlens + sentence)
    end = tl.load(cu_seqlens + sentence + 1, mask=sentence < sentences, other=tokens)
    row = (tile - start // BLOCK - sentence) * BLOCK
    return sentence, start, end - start, row
