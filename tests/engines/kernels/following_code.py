"""Where each kernel lets the next one be set up and waits for the one before, as JSON.

Run by ``test_launching.py`` in a process of its own: one that interprets kernels cannot compile
them.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from dataclasses import replace
from typing import Any

from compile_for_every_sm import PARTS, part
from machine_code import FFN_IN, GELU_TILE, instructions, linear_gelu
from triton.runtime.jit import JITFunction

from xopt.engines import kernels
from xopt.engines.kernels import linear, pooling
from xopt.engines.kernels.aot import KERNELS, compile_spec
from xopt.engines.kernels.ptx import assemble_ptx
from xopt.engines.kernels.spec import KernelSpec

# Loads and stores of device memory, bulk copies and atomic operations among them.
MEMORY = re.compile(r"(LDG|LDGSTS|LD|STG|ST|ATOMG|ATOM|RED|REDG|UTMALDG|UTMASTG)\b")
SHAPES: dict[str, dict[str, Any]] = {
    "varlen_attention": {"heads": 12, "head_dim": 64},
    "varlen_attention_int8": {"heads": 12, "head_dim": 64},
    "add_layer_norm": {"hidden": 768},
    "bias_gelu": {"width": 3072},
    "embed_layer_norm": {"hidden": 768},
}
SPECS = [KERNELS.resolve(name)(**shape)[0] for name, shape in SHAPES.items()]
SPECS += [
    FFN_IN,
    linear_gelu(GELU_TILE),
    *PARTS,
    part(
        "mean_pool", pooling._mean_pool_kernel, {"x": "*fp16", "cu_seqlens": "*i32"},
        {"out": "*fp32"}, HIDDEN=768, ROWS=pooling.ROWS, BLOCK=pooling.BLOCK,
    ),
    part(
        "first_pool", pooling._first_pool_kernel, {"x": "*fp16", "cu_seqlens": "*i32"},
        {"out": "*fp32"}, HIDDEN=768, ROWS=pooling.BLOCK, BLOCK=pooling.FIRST_BLOCK,
    ),
    replace(
        part(
            "epilogue", linear._epilogue_kernel,
            {"acc": "*i32", "weight_scale": "*fp32", "bias": "*fp32"}, {"out": "*fp16"},
            x_scale=0.02, out_scale=1.0, OUT_FEATURES=768, BLOCK_M=8, BLOCK_N=256, GELU=False,
            QUANTIZE=False, PER_CHANNEL=False,
        ),
        scalars={"tokens": "i32"},
    ),
]  # fmt: skip


def describe(spec: KernelSpec, sm: int, dependent: bool) -> dict[str, Any]:
    """One row: the places of the two instructions and of the first that touches memory."""
    spec = replace(spec, constants={**spec.constants, "DEPENDENT": dependent})
    code = instructions(assemble_ptx(compile_spec(spec, sm=sm).ptx).cubin)
    return {
        "kernel": spec.function.__name__,
        "sm": sm,
        "dependent": dependent,
        "places": {name: code.index(name) for name in ("PREEXIT", "ACQBULK") if name in code},
        "memory": next(number for number, one in enumerate(code) if MEMORY.match(one)),
    }


def launched() -> set[str]:
    """The names of every kernel of the package that is launched."""
    found = set()
    for module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            # Of those with descriptors ``bulk_code.py`` looks at the same.
            name = getattr(value, "__name__", "")
            bulk = name.endswith("_bulk_kernel")
            if isinstance(value, JITFunction) and name.endswith("_kernel") and not bulk:
                found.add(name)
    return found


def main() -> None:
    """Print the rows, and the names of all kernels."""
    rows = [describe(spec, sm, True) for spec in SPECS for sm in (90, 120)]
    rows += [describe(spec, 89, False) for spec in SPECS]
    json.dump([*rows, {"launched": sorted(launched())}], sys.stdout)


if __name__ == "__main__":
    main()
