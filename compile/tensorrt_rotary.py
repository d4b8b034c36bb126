"""TensorRT's form of rotary positions: GTE, jina-embeddings-v3, ModernBERT.

The products of attention are fp16 there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from xopt.compile.rotary import rotations
from xopt.compile.tensorrt_linear import LinearLowerer
from xopt.encoders.plan import Attend

__all__ = ["split_turned"]


def split_turned(work: LinearLowerer, op: Attend, parts: Sequence[ir.Value]) -> list[ir.Value]:
    """Queries, keys and values ``[T, hidden]`` as ``[T, heads, d]``, the first two rotated."""
    split = np.array([0, op.heads, op.head_dim], np.int64)
    shape, emit = work.editor.constant("rows.heads", split), work.editor.emit
    rows = [emit("Reshape", [part, shape], f"{part.name}.split") for part in parts]
    return [_turned(work, op, part) for part in rows[:2]] + rows[2:]


def _turned(work: LinearLowerer, op: Attend, rows: ir.Value) -> ir.Value:
    """``[T, heads, d]`` rotated by each token's position; halves of a head are the pairs."""
    emit = work.editor.emit
    cosine, sine = (_angles(work, op, kind) for kind in ("cos", "sin"))
    one, two = halves = [f"{rows.name}.first", f"{rows.name}.second"]
    first, second = work.editor.emit_all("Split", [rows], halves, axis=-1, num_outputs=2)
    ahead = emit("Mul", [first, cosine], one + ".cos")
    taken = emit("Mul", [second, sine], two + ".sin")
    behind = emit("Mul", [second, cosine], two + ".cos")
    added = emit("Mul", [first, sine], one + ".sin")
    parts = [
        emit("Sub", [ahead, taken], one + ".turned"),
        emit("Add", [behind, added], two + ".turned"),
    ]
    return emit("Concat", parts, f"{rows.name}.turned", axis=-1)


def _angles(work: LinearLowerer, op: Attend, kind: str) -> ir.Value:
    """``[T, 1, d / 2]``: cosine or sine of each token's angles."""
    assert op.rotary is not None
    name = f"rotary.{rotations(work.plan).index(op.rotary)}.{kind}"
    if name not in work.once:
        # Both halves of a table are the same angles.
        half = work.half(f"{name}.half", work.state[name][:, None, : op.head_dim // 2])
        given = [half, work.index("position_ids")]
        work.once[name] = work.editor.emit("GatherND", given, f"{name}.rows")
    return work.once[name]
