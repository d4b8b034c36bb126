"""What the assembler makes of the kernels whose operands come by bulk copies, as JSON.

Run by ``test_machine_code.py`` in a process of its own. A descriptor is five parameters, which no
other runtime passes, so :func:`xopt.engines.kernels.aot.compile_spec` has no use for them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import triton
from machine_code import PRODUCT, REGISTERS, SHARED_OF_AN_SM, instructions
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from xopt.engines.kernels.linear_bulk import linear_gelu_bulk_kernel, linear_int8_bulk_kernel
from xopt.engines.kernels.linear_tiles import Gpu, linear_gelu_candidates, linear_int8_candidates
from xopt.engines.kernels.ptx import assemble_ptx
from xopt.engines.kernels.spec import OPTIONS
from xopt.engines.kernels.tiles import Tile

# The oldest ISA with copies into a block's own shared memory.
ISA = {90: 86, 100: 86, 120: 87}
FFN_IN, FFN_OUT = (3072, 768), (768, 3072)
INT8 = {"x_scale": 0.02, "out_scale": 0.05, "PER_CHANNEL": False}
CASES: list[tuple[str, Any, tuple[int, int], dict[str, Any]]] = [
    ("ffn_in", linear_int8_bulk_kernel, FFN_IN, {**INT8, "GELU": True, "QUANTIZE": True}),
    ("ffn_out", linear_int8_bulk_kernel, FFN_OUT, {**INT8, "GELU": False, "QUANTIZE": False}),
    ("ffn_in fp16", linear_gelu_bulk_kernel, FFN_IN, {}),
]


def describe(
    name: str, kernel: Any, shape: tuple[int, int], epilogue: dict[str, Any], tile: Tile, sm: int
) -> dict[str, Any]:
    """One row, as of ``machine_code.py``; ``bulk`` and ``waits`` are numbers of instructions."""
    quantized = epilogue.get("QUANTIZE", False)
    kind = "i8" if epilogue else "fp16"
    types = {
        "x": f"tensordesc<{kind}[{tile.block_m}, {tile.block_k}]>",
        "weight": f"tensordesc<{kind}[{tile.block_n}, {tile.block_k}]>",
        "weight_scale": "*fp32", "bias": "*fp32", "tokens": "i32",
        "out": "*i8" if quantized else "*fp16",
    }  # fmt: skip
    constants = {
        **epilogue, "OUT_FEATURES": shape[0], "IN_FEATURES": shape[1],
        "BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_K": tile.block_k,
        "RESIDENT": tile.resident > 0, "DEPENDENT": True,
    }  # fmt: skip
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {one: "constexpr" if one in constants else types[one] for one in names},
        constexprs=constants,
        attrs={
            (number,): [["tt.divisibility", 16]]
            for number, one in enumerate(names)
            if one not in constants and types[one].startswith("*")
        },
    )
    options = {
        "num_warps": tile.num_warps, "num_stages": tile.num_stages, "ptx_version": ISA[sm],
        "maxnreg": tile.max_registers, **OPTIONS,
    }  # fmt: skip
    compiled = triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options)
    assembly = assemble_ptx(compiled.asm["ptx"])
    code = instructions(assembly.cubin)
    last = max(number for number, one in enumerate(code) if PRODUCT.match(one))
    threads = 32 * tile.num_warps
    by_registers = REGISTERS // (threads * (-(-assembly.registers // 8) * 8))
    by_shared = SHARED_OF_AN_SM[sm] // (compiled.metadata.shared + 1024)
    return {
        "kernel": f"{name}{', resident' if tile.resident else ''}",
        "sm": sm,
        "registers": assembly.registers,
        "spill_bytes": assembly.spill_bytes,
        "scratch_bytes": compiled.metadata.global_scratch_size,
        "blocks": min(by_registers, by_shared),
        "epilogue": round((len(code) - last - 1) * threads / (tile.block_m * tile.block_n), 1),
        "bulk": sum(one.startswith("UTMALDG") for one in code),
        "other": sum(one.startswith("LDGSTS") for one in code),
        "products": sorted({one.split(".")[0] for one in code if PRODUCT.match(one)}),
        "waits": code.index("ACQBULK") < code.index(next(c for c in code if "UTMALDG" in c)),
    }


def main() -> None:
    """Print the rows for every case."""
    rows = []
    sms = [int(one) for one in sys.argv[1:]] or [90]
    for name, kernel, shape, epilogue in CASES:
        found = (
            linear_int8_candidates(8192, *shape, Gpu())
            if epilogue
            else linear_gelu_candidates(8192, torch.float16, *shape, Gpu())
        )
        tiles = [tile for tile in found if tile and tile.bulk]
        rows += [describe(name, kernel, shape, epilogue, tile, sm) for tile in tiles for sm in sms]
    json.dump(rows, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
