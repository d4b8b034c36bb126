"""Compile the kernels ahead of time and print what came out, as JSON.

Run by ``test_aot.py`` in a process of its own: one that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from xopt.engines.kernels.aot import SHARED_BYTES, TENSORRT_SHARED_BYTES, compile_kernel
from xopt.engines.kernels.ptx import assemble_ptx

LINEAR = {"out_features": 3072, "in_features": 768, "x_scale": 0.02}
ATTENTION = {"heads": 12, "head_dim": 64}
MATRIX_CASES: list[tuple[str, dict[str, Any], int | None]] = [
    ("varlen_attention", ATTENTION, None),
    ("varlen_attention", ATTENTION, TENSORRT_SHARED_BYTES),
    ("varlen_attention_int8", {**ATTENTION, "out_scale": 0.02}, TENSORRT_SHARED_BYTES),
    ("linear_int8", {**LINEAR, "gelu": True, "out_scale": 0.05}, TENSORRT_SHARED_BYTES),
]
OTHER_CASES: list[tuple[int, str, dict[str, Any], int | None]] = [
    (89, "varlen_attention", {"heads": 4, "head_dim": 32, "dtype": "bf16"}, TENSORRT_SHARED_BYTES),
    (89, "varlen_attention", {"heads": 4, "head_dim": 128}, None),
    (89, "varlen_attention", {"heads": 4, "head_dim": 128}, TENSORRT_SHARED_BYTES),
    (90, "varlen_attention_int8", {"heads": 4, "head_dim": 128, "per_head": True}, None),
    (80, "add_layer_norm", {"hidden": 768}, TENSORRT_SHARED_BYTES),
    (90, "add_layer_norm", {"hidden": 1024, "out_scale": 0.03}, TENSORRT_SHARED_BYTES),
    (89, "bias_gelu", {"width": 3072, "out_scale": 0.05}, TENSORRT_SHARED_BYTES),
    (120, "embed_layer_norm", {"hidden": 768}, TENSORRT_SHARED_BYTES),
]


def describe(sm: int, name: str, shape: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """One row: how the kernel is launched, and what its PTX assembles to."""
    kernel = compile_kernel(name, sm=sm, max_shared_bytes=limit, **shape)
    assembly = assemble_ptx(kernel.ptx)
    return {
        "name": name,
        "sm": sm,
        "shape": shape,
        "limit": limit,
        "shared_bytes": kernel.shared_bytes,
        "block_threads": kernel.block_threads,
        "block_m": kernel.constants.get("BLOCK_M"),
        "grid": kernel.grid.grid(1000, 7),
        "parameters": kernel.parameters,
        "entry": kernel.entry,
        "ptx": kernel.ptx,
        "target": assembly.target,
        "matrix_instructions": list(assembly.matrix_instructions),
        "spill_bytes": assembly.spill_bytes,
    }


def main() -> None:
    """Print the rows for every case."""
    rows = [describe(sm, *case) for sm in SHARED_BYTES for case in MATRIX_CASES]
    rows += [describe(*case) for case in OTHER_CASES]
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
