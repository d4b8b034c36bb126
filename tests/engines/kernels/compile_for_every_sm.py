"""Compile the kernels ahead of time and print what came out, as JSON.

Run by ``test_aot.py`` in a process of its own: one that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from xopt.engines.kernels import embedding, gate, layer_norm, rotary
from xopt.engines.kernels.aot import (
    SHARED_BYTES,
    TENSORRT_SHARED_BYTES,
    AotKernel,
    compile_kernel,
    compile_spec,
)
from xopt.engines.kernels.ptx import assemble_ptx
from xopt.engines.kernels.spec import GridRule, KernelSpec

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
    (89, "varlen_attention", {**ATTENTION, "kv_heads": 4, "window": 64}, None),
    (90, "varlen_attention_int8", {"heads": 4, "head_dim": 128, "per_head": True}, None),
    (80, "add_layer_norm", {"hidden": 768}, TENSORRT_SHARED_BYTES),
    (90, "add_layer_norm", {"hidden": 1024, "out_scale": 0.03}, TENSORRT_SHARED_BYTES),
    (89, "bias_gelu", {"width": 3072, "out_scale": 0.05}, TENSORRT_SHARED_BYTES),
    (120, "embed_layer_norm", {"hidden": 768}, TENSORRT_SHARED_BYTES),
]


def part(
    name: str,
    function: Any,
    inputs: dict[str, str],
    outputs: dict[str, str],
    **constants: Any,
) -> KernelSpec:
    """A kernel that TensorRT has no use for."""
    return KernelSpec(
        name=name, function=function, inputs=inputs, scalars={}, outputs=outputs,
        constants=constants, grid=GridRule(1), num_warps=4, num_stages=1, multiplies=False,
    )  # fmt: skip


ROW = {"eps": 1e-5, "HIDDEN": 768, "BLOCK": 1024}
PARTS = [
    part(
        "rotate", rotary._rotate_kernel,
        {"position_ids": "*i32", "cosine": "*fp32", "sine": "*fp32"}, {"x": "*fp16"},
        ROWS=36, HEADS=24, HALF=32, BLOCK=32,
    ),
    part(
        "gated", gate._gated_kernel, {"x": "*fp16", "out_scale": "*fp32"},
        {"out": "*i8", "stream": "*fp16"},
        WIDTH=1152, BLOCK=1024, SILU=False, QUANTIZE=True, PER_CHANNEL=True, HIDDEN=768,
    ),
    part(
        "gated", gate._gated_kernel, {"x": "*fp16"}, {"out": "*fp16"},
        out_scale=1.0, stream=None, WIDTH=1152, BLOCK=1024, SILU=True, QUANTIZE=False,
        PER_CHANNEL=False, HIDDEN=1,
    ),
    part(
        "pre_norm", layer_norm.add_norm_kernel,
        {"x": "*fp16", "residual": "*fp16", "weight": "*fp32", "out_scale": "*fp32"},
        {"out_int8": "*i8", "stream": "*fp16"},
        bias=None, out=None, PER_CHANNEL=True, RMS=True, **ROW,
    ),
    part(
        "embeddings", embedding._embed_layer_norm_kernel,
        {"input_ids": "*i32", "position_ids": "*i32", "type_ids": "*i32", "words": "*fp16",
         "types": "*fp32"},
        {"out": "*fp16"}, positions=None, weight=None, bias=None, word_scale=None, out_scale=1.0,
        out_int8=None, PER_CHANNEL=False, **ROW,
    ),
]  # fmt: skip


def describe(
    kernel: AotKernel, sm: int, name: str, shape: dict[str, Any], limit: int | None
) -> dict[str, Any]:
    """One row: how the kernel is launched, and what its PTX assembles to."""
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
    cases = [(sm, *case) for sm in SHARED_BYTES for case in MATRIX_CASES] + OTHER_CASES
    rows = [
        describe(
            compile_kernel(name, sm=sm, max_shared_bytes=limit, **shape), sm, name, shape, limit
        )
        for sm, name, shape, limit in cases
    ]
    rows += [describe(compile_spec(spec, sm=90), 90, spec.name, {}, None) for spec in PARTS]
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
