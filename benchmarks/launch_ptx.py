"""Launch the PTX of ``xopt.engines.kernels.aot`` through the CUDA driver, as TensorRT would.

    python benchmarks/launch_ptx.py --json out.json

The arguments go in TensorRT's order (inputs, extra scalars, outputs), with no more of them than the
kernel declares, into the module compiled ahead of time for this GPU and into the one for SM 80,
which every later GPU runs too. Each answer is compared with the plain reference. PyTorch only holds
the memory. Needs ``cuda-python``.

Exits with 2, saying that nothing was launched, where there is no GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xopt.engines import kernels
from xopt.engines.kernels.aot import SHARED_BYTES, TENSORRT_SHARED_BYTES, AotKernel, compile_kernel
from xopt.engines.kernels.criteria import (
    EPS,
    context_bound,
    largest_error,
    plain_attention,
    quantized_bound,
)

LENGTHS = [1, 33, 63, 64, 65, 257, 512]
HEADS, HEAD_DIM = 12, 64
HIDDEN, WIDTH = HEADS * HEAD_DIM, 3072
DEFAULT_SHARED_BYTES = 48 * 1024


@dataclass
class Case:
    """A kernel, its tensors by argument name, and the check of its outputs.

    ``check`` returns how far the outputs are off as a share of what is allowed.
    """

    name: str
    shape: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    check: Callable[[dict[str, torch.Tensor]], float]


def share(difference: torch.Tensor, bound: torch.Tensor) -> float:
    """The largest difference over its bound: infinite where one differs that may not."""
    ratio = difference.double() / bound.double()
    return torch.where(difference == 0, 0.0, ratio).max().item()


def make_cases(generator: torch.Generator) -> list[Case]:
    """Every kernel once, on a ragged batch with an unused tail."""
    begins = torch.tensor([0, *LENGTHS]).cumsum(0)
    tokens = int(begins[-1]) + 40
    cu_seqlens = begins.to("cuda", torch.int32)
    longest = max(LENGTHS)

    def normal(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to("cuda", dtype)

    def integers(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * 40).clamp(-128, 127).cuda().char()

    def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
        return torch.full(shape, 77, dtype=dtype, device="cuda")

    qkv = normal(tokens, 3, HEADS, HEAD_DIM)
    attention = kernels.varlen_attention_reference(qkv, cu_seqlens, longest)
    attention_error = 2 * largest_error(plain_attention(qkv, cu_seqlens), attention) + EPS

    qkv_int8, qkv_scale = integers(tokens, 3, HEADS, HEAD_DIM), torch.full((3,), 0.04).cuda()
    attention_int8 = kernels.varlen_attention_int8_reference(
        qkv_int8, cu_seqlens, longest, qkv_scale=qkv_scale, out_scale=0.02
    )
    steps = (context_bound(qkv_int8, cu_seqlens, qkv_scale) / 0.02).ceil()

    x, weight = integers(tokens, HIDDEN), integers(WIDTH, HIDDEN)
    weight_scale = torch.full((WIDTH,), 0.001).cuda()
    bias = normal(WIDTH, dtype=torch.float32)
    linear = kernels.linear_int8_reference(
        x, weight, weight_scale, bias, x_scale=0.02, gelu=True, out_dtype=torch.float32
    )

    row, residual, scale, shift = (
        normal(tokens, HIDDEN), normal(tokens, HIDDEN), normal(HIDDEN), normal(HIDDEN),
    )  # fmt: skip
    norm = kernels.add_layer_norm_reference(row, residual, scale, shift, 1e-5)
    norm_peer = torch.nn.functional.layer_norm(row + residual, [HIDDEN], scale, shift, 1e-5)
    norm_error = 2 * largest_error(norm_peer, norm) + EPS

    def quantized_share(out: torch.Tensor, exact: torch.Tensor, step: float) -> float:
        wanted = (exact.double() / step).round().clamp(-128, 127)
        return share((out.double() - wanted).abs(), quantized_bound(exact, step))

    return [
        Case(
            "varlen_attention",
            {"heads": HEADS, "head_dim": HEAD_DIM},
            {"qkv": qkv, "cu_seqlens": cu_seqlens},
            {"out": empty(tokens, HEADS, HEAD_DIM)},
            lambda out: largest_error(out["out"], attention) / attention_error,
        ),
        Case(
            "varlen_attention_int8",
            {"heads": HEADS, "head_dim": HEAD_DIM, "out_scale": 0.02},
            {"qkv": qkv_int8, "cu_seqlens": cu_seqlens, "qkv_scale": qkv_scale},
            {"out": empty(tokens, HEADS, HEAD_DIM, dtype=torch.int8)},
            lambda out: share((out["out"].int() - attention_int8.int()).abs(), steps),
        ),
        Case(
            "linear_int8",
            {
                "out_features": WIDTH,
                "in_features": HIDDEN,
                "x_scale": 0.02,
                "gelu": True,
                "out_scale": 0.05,
            },
            {"x": x, "weight": weight, "weight_scale": weight_scale, "bias": bias},
            {"out": empty(tokens, WIDTH, dtype=torch.int8)},
            lambda out: quantized_share(out["out"], linear, 0.05),
        ),
        Case(
            "add_layer_norm",
            {"hidden": HIDDEN, "out_scale": 0.03},
            {"x": row, "residual": residual, "weight": scale, "bias": shift},
            {
                "out": empty(tokens, HIDDEN),
                "out_int8": empty(tokens, HIDDEN, dtype=torch.int8),
            },
            lambda out: max(
                largest_error(out["out"], norm) / norm_error,
                quantized_share(out["out_int8"], norm, 0.03),
            ),
        ),
    ]


def launch(driver: Any, kernel: AotKernel, case: Case) -> None:
    """Load the PTX and launch it once on the current stream; waits for the end."""

    def call(function: str, *arguments: Any) -> Any:
        status, *values = getattr(driver, function)(*arguments)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{function} failed with {status.name}")
        return values[0] if values else None

    tensors = {**case.inputs, **case.outputs}
    tokens = next(iter(case.outputs.values())).shape[0]
    scalars = {"tokens": tokens, "sentences": len(LENGTHS)}
    values = [
        tensors[name].data_ptr() if kind.startswith("*") else scalars[name]
        for name, kind in kernel.parameters
    ]
    types = [
        ctypes.c_void_p if kind.startswith("*") else ctypes.c_int for _, kind in kernel.parameters
    ]
    module = call("cuModuleLoadData", kernel.ptx.encode() + b"\0")
    function = call("cuModuleGetFunction", module, kernel.entry.encode())
    if kernel.shared_bytes > DEFAULT_SHARED_BYTES:
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        call("cuFuncSetAttribute", function, attribute, kernel.shared_bytes)
    grid = kernel.grid.grid(tokens, len(LENGTHS))
    stream = torch.cuda.current_stream().cuda_stream
    call(
        "cuLaunchKernel", function, *grid, kernel.block_threads, 1, 1, kernel.shared_bytes, stream,
        (tuple(values), tuple(types)), 0,
    )  # fmt: skip
    torch.cuda.synchronize()
    call("cuModuleUnload", module)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--ptx-version", type=int, help="PTX ISA, such as 83 for an older driver")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing was launched, and the PTX is not measured.")
        return 2
    try:
        from cuda.bindings import driver
    except ImportError:
        print("The driver is called through cuda-python: pip install cuda-python")
        return 2
    major, minor = torch.cuda.get_device_capability()
    device = 10 * major + minor
    if device not in SHARED_BYTES:
        print(f"No kernel is compiled for SM {device}: nothing was launched.")
        return 2
    rows = []
    for case in make_cases(torch.Generator().manual_seed(42)):
        for sm in sorted({80, device}):
            for limit in (None, TENSORRT_SHARED_BYTES):
                kernel = compile_kernel(
                    case.name, sm=sm, max_shared_bytes=limit, ptx_version=options.ptx_version,
                    **case.shape,
                )  # fmt: skip
                for tensor in case.outputs.values():
                    tensor.fill_(77)
                launch(driver, kernel, case)
                off = case.check(case.outputs)
                rows.append(
                    {
                        "kernel": case.name,
                        "sm": sm,
                        "shared_bytes": kernel.shared_bytes,
                        "error_over_allowed": off,
                        "right": off <= 1,
                    }
                )
                print(rows[-1])
    result = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": kernel.triton_version,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(row["right"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
