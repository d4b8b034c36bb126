"""What the assembler makes of the kernels' tiles, as JSON; see ``test_machine_code.py``.

``python tests/engines/kernels/machine_code.py`` prints the figures that docs/gpu.md quotes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from triton.backends.nvidia import compiler

from xopt.engines.kernels.aot import SHARED_BYTES, compile_spec
from xopt.engines.kernels.aot_specs import (
    attention_int8_specs,
    attention_specs,
    linear_int8_specs,
)
from xopt.engines.kernels.attention_tiles import attention_tile
from xopt.engines.kernels.linear_float import linear_gelu_kernel
from xopt.engines.kernels.linear_tiles import Gpu, linear_gelu_candidates, linear_int8_candidates
from xopt.engines.kernels.ptx import assemble_ptx
from xopt.engines.kernels.spec import GridRule, KernelSpec
from xopt.engines.kernels.tiles import Tile

# SM to its registers and its shared memory in bytes, of which each block takes 1 KiB more than it
# asks for (CUDA C++ Programming Guide, "Compute Capabilities").
REGISTERS = 64 * 1024
SHARED_OF_AN_SM = {sm: block + 1024 for sm, block in SHARED_BYTES.items()}
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,6}\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]+)", re.M)
# A part is written before it is counted, and the others' are read past the SM's own cache.
JOINED = re.compile(
    r"st\.global.*bar\.sync.*atom\.global\.gpu\.acq_rel\.add.*ld\.global\.cg", re.DOTALL
)
PRODUCT = re.compile(r"HMMA|IMMA|HGMMA|IGMMA|QMMA|UTCHMMA|UTCIMMA")


def instructions(cubin: bytes) -> list[str]:
    """The names of the machine code's instructions, in their order."""
    cuobjdump = Path(compiler.__file__).with_name("bin") / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [cuobjdump, "--dump-sass", file.name]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [name for name in INSTRUCTION.findall(dump) if name != "NOP"]


def describe(name: str, spec: KernelSpec, sm: int) -> dict[str, Any]:
    """One row: what limits the blocks of an SM, and the instructions behind the last product.

    ``epilogue`` counts them for each element of the result's tile, addresses and stores included.
    """
    kernel = compile_spec(spec, sm=sm)
    assembly = assemble_ptx(kernel.ptx)
    code = instructions(assembly.cubin)
    behind = code[max(number for number, one in enumerate(code) if PRODUCT.match(one)) + 1 :]
    threads = 32 * spec.num_warps
    columns = spec.constants.get("HEAD_DIM", spec.constants["BLOCK_N"])
    elements = spec.constants["BLOCK_M"] * columns
    # Registers are given out in eights.
    by_registers = REGISTERS // (threads * (-(-assembly.registers // 8) * 8))
    by_shared = SHARED_OF_AN_SM[sm] // (kernel.shared_bytes + 1024)
    return {
        "kernel": name,
        "sm": sm,
        "registers": assembly.registers,
        "spill_bytes": assembly.spill_bytes,
        "shared_bytes": kernel.shared_bytes,
        "blocks": min(by_registers, by_shared),
        "warps": spec.num_warps,
        "joined": JOINED.search(kernel.ptx) is not None,
        "byte_loads": sum(one.startswith(("LDS.S8", "LDS.U8")) for one in code),
        "epilogue": round(len(behind) * threads / elements, 1),
    }


def linear(out_features: int, in_features: int, **epilogue: Any) -> KernelSpec:
    """The INT8 product with the tile that a large batch begins with."""
    return linear_int8_specs(
        out_features=out_features, in_features=in_features, x_scale=0.02, **epilogue
    )[0]


def linear_gelu(tile: Tile) -> KernelSpec:
    """The fp16 product, bias and GELU of ``ffn_in``."""
    blocks = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_K": tile.block_k}
    spec = KernelSpec(
        name="linear_gelu",
        function=linear_gelu_kernel,
        inputs={"x": "*fp16", "weight": "*fp16", "bias": "*fp32"},
        scalars={"tokens": "i32"},
        outputs={"out": "*fp16"},
        constants={
            "OUT_FEATURES": 3072, "IN_FEATURES": 768, "PARTS": 1, "sums": None, "arrivals": None,
            **blocks,
        },
        grid=GridRule(tile.block_m),
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        max_registers=tile.max_registers,
        multiplies=True,
    )  # fmt: skip
    return in_parts(spec, tile.parts, "fp32")


def in_parts(spec: KernelSpec, parts: int, sums: str) -> KernelSpec:
    """The same with the summed dimension cut into parts."""
    if parts == 1:
        return spec
    constants = {**spec.constants, "PARTS": parts}
    del constants["sums"], constants["arrivals"]
    inputs = {**spec.inputs, "sums": f"*{sums}", "arrivals": "*i32"}
    return replace(spec, constants=constants, inputs=inputs)


def per_channel(spec: KernelSpec) -> KernelSpec:
    """The same with one scale of the result per channel."""
    constants = {**spec.constants, "PER_CHANNEL": True}
    del constants["out_scale"]
    return replace(spec, constants=constants, inputs={**spec.inputs, "out_scale": "*fp32"})


def quantized_attention(head_dim: int, **more: Any) -> KernelSpec:
    """Attention as ``int8`` launches it: fp16 in, a scale of the result per channel, a stream.

    With ``more`` of :func:`attention_specs` it follows the kernel before it, too.
    """
    tile = attention_tile(head_dim, torch.float16, quantized=True)
    spec = with_tile(per_channel(attention_specs(heads=12, head_dim=head_dim, **more)[0]), tile)
    constants = {**spec.constants, "QUANTIZE": True, "HIDDEN": 12 * head_dim}
    constants["DEPENDENT"] = bool(more)
    del constants["softmax_scale"], constants["stream"]
    return replace(
        spec,
        constants=constants,
        inputs={**spec.inputs, "stream": "*fp16"},
        scalars={**spec.scalars, "softmax_scale": "fp32"},
        outputs={"out": "*i8"},
    )


def with_tile(spec: KernelSpec, tile: Tile) -> KernelSpec:
    """The same with another tile."""
    blocks = {"BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n}
    blocks |= {"BLOCK_K": tile.block_k} if tile.block_k else {}
    spec = replace(
        spec,
        constants={**spec.constants, **blocks},
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        max_registers=tile.max_registers,
    )
    return in_parts(spec, tile.parts, "i32")


# Of none of whose tiles operands are copied in bulk.
OLD = Gpu(80, 1)
EVERY = (80, 86, 89, 90, 120)
FFN_IN = linear(3072, 768, gelu=True, out_scale=0.05)
GELU_TILE = linear_gelu_candidates(8192, torch.float16, 3072, 768, Gpu())[0]
assert GELU_TILE is not None
CASES: list[tuple[str, KernelSpec, tuple[int, ...]]] = [
    ("ffn_in", FFN_IN, EVERY),
    ("ffn_in, a scale per channel", per_channel(FFN_IN), EVERY),
    ("qkv, a scale per channel", per_channel(linear(2304, 768, out_scale=0.05)), (86, 90)),
    ("ffn_in fp16", linear_gelu(GELU_TILE), (86, 90)),
    ("ffn_out", linear(768, 3072), (80, 90)),
]
# What else is measured for a shape, but for the tile of 256 columns: one block, which must be worth
# it where it is taken.
TILES: list[tuple[str, KernelSpec, tuple[int, ...]]] = []
others = linear_int8_candidates(8192, 768, 3072, OLD)[2:]
for tile in (*linear_int8_candidates(32, 768, 3072, OLD), *others):
    if tile is not None:
        name = f"ffn_out {tile.block_m} x {tile.block_n}"
        TILES.append((name, with_tile(linear(768, 3072), tile), (86, 120)))
for tokens, narrow in ((16, "16 x 32"), (32, "32 x 32"), (64, "64 x 32"), (128, "64 x 64")):
    for tile in linear_int8_candidates(tokens, 768, 3072, Gpu()):
        if tile is not None and tile.parts > 1:
            name = f"ffn_out {narrow}, {tile.parts} parts"
            TILES.append((name, with_tile(linear(768, 3072), tile), (80, 90, 120)))
for tile in linear_gelu_candidates(64, torch.float16, 3072, 768, Gpu()):
    if tile is not None and tile.parts > 1:
        CASES.append((f"ffn_in fp16, {tile.parts} parts", linear_gelu(tile), (80, 90, 120)))
for head_dim in (64, 128):
    fp16, int8 = (
        make(heads=12, head_dim=head_dim, **given)
        for make, given in ((attention_specs, {}), (attention_int8_specs, {"out_scale": 0.02}))
    )
    for spec in (*fp16, *int8):
        kind = "INT8" if spec in int8 else "fp16"
        tile_name = f"{spec.constants['BLOCK_M']} x {spec.constants['BLOCK_N']}"
        name = f"attention {kind}, head_dim {head_dim}, {tile_name}, {spec.num_stages} stages"
        CASES.append((name, spec, EVERY))
# For the SM that with a longer step spilled.
for head_dim, sm in ((64, 120), (128, 80)):
    spec = quantized_attention(head_dim)
    tile_name = f"{spec.constants['BLOCK_M']} x {spec.constants['BLOCK_N']}"
    CASES.append((f"attention fp16 to int8, head_dim {head_dim}, {tile_name}", spec, (sm,)))
    # Launched behind another kernel from SM 90 on.
    more: dict[str, Any] = {"kv_heads": 4, "window": 64}
    name = f"attention fp16 to int8, head_dim {head_dim}, shared heads, a window"
    CASES.append((name, quantized_attention(head_dim, **more), (90, 120)))


def main() -> None:
    """Print the rows for every case; with ``few`` of each case for one SM, in turn.

    Of the tile of 64 rows, whose warps are counted on every SM, for all.
    """
    cases = [*CASES, *TILES]
    if "few" in sys.argv[1:]:
        cases = [
            (name, spec, sms if "head_dim 64, 64 x" in name else (sms[n % len(sms)],))
            for n, (name, spec, sms) in enumerate(cases)
        ]
    rows = [describe(name, spec, sm) for name, spec, sms in cases for sm in sms]
    json.dump(rows, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
