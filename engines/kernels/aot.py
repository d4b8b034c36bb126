"""Compile a kernel to PTX ahead of time, with no GPU and no driver, for a runtime without Python.

The result holds what a launch needs: the PTX, the entry, the arguments in TensorRT's order (inputs,
extra scalars, outputs), the grid as a rule over shapes, and the shared memory. Floating-point
arguments are baked into the code, since TensorRT passes none.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from xopt.engines.kernels.checks import TOO_OLD
from xopt.engines.kernels.ptx import matrix_instructions, strip_hidden_parameters
from xopt.engines.kernels.spec import OPTIONS, GridRule, KernelSpec
from xopt.errors import BuildError, UnsupportedError
from xopt.registry import Registry

__all__ = [
    "KERNELS",
    "PTX_ISA",
    "SHARED_BYTES",
    "TENSORRT_SHARED_BYTES",
    "AotKernel",
    "compile_kernel",
    "compile_spec",
]

KERNELS: Registry[Callable[..., list[KernelSpec]]] = Registry(
    "kernel",
    {
        "varlen_attention": "xopt.engines.kernels.aot_specs:attention_specs",
        "varlen_attention_int8": "xopt.engines.kernels.aot_specs:attention_int8_specs",
        "add_layer_norm": "xopt.engines.kernels.layer_norm:add_layer_norm_specs",
        "bias_gelu": "xopt.engines.kernels.gelu:bias_gelu_specs",
        "embed_layer_norm": "xopt.engines.kernels.embedding:embed_layer_norm_specs",
        "linear_int8": "xopt.engines.kernels.aot_specs:linear_int8_specs",
    },
)

# SM to the shared memory one program may have, in bytes (CUDA C++ Programming Guide, "Compute
# Capabilities": maximum per thread block). More than 48 KiB must be asked for at the launch.
SHARED_BYTES = {
    80: 163 * 1024,
    86: 99 * 1024,
    87: 163 * 1024,
    89: 99 * 1024,
    90: 227 * 1024,
    100: 227 * 1024,
    120: 99 * 1024,
}
# SM to the PTX ISA compiled for, as 10 · major + minor: the oldest that has what the kernels use
# there. A driver takes none beyond its own level (9.0 for CUDA 13.0's), and Triton's default
# follows its own ptxas (9.4 in 3.9).
PTX_ISA = {80: 80, 86: 80, 87: 80, 89: 80, 90: 80, 100: 86, 120: 87}
# It is not documented that TensorRT asks for more than the default of 48 KiB. One byte below it,
# because a launch with exactly the default is a case that nobody documents either.
TENSORRT_SHARED_BYTES = 48 * 1024 - 1


@dataclass(frozen=True)
class AotKernel:
    """A compiled kernel and how to launch it.

    Attributes:
        name: the operation, as in :data:`KERNELS`.
        sm: the compute capability compiled for, as 10 · major + minor.
        entry: the kernel's name in the PTX.
        ptx_version: its ISA, as 10 · major + minor.
        ptx: the module, without Triton's two hidden parameters.
        parameters: name and type of each argument, in the order of the launch.
        constants: what was baked in.
        grid: the rule for the grid.
        num_warps: warps per program.
        shared_bytes: dynamic shared memory of the launch.
        triton_version: the compiler's.
    """

    name: str
    sm: int
    entry: str
    ptx_version: int
    ptx: str
    parameters: tuple[tuple[str, str], ...]
    constants: Mapping[str, Any]
    grid: GridRule
    num_warps: int
    shared_bytes: int
    triton_version: str

    @property
    def block_threads(self) -> int:
        """Threads per program: the x dimension of the launch's block; y and z are 1."""
        return 32 * self.num_warps


def compile_kernel(
    name: str,
    *,
    sm: int,
    max_shared_bytes: int | None = None,
    ptx_version: int | None = None,
    **shape: Any,
) -> AotKernel:
    """Compile a kernel with the largest of its tiles that fits.

    Args:
        name: one of :data:`KERNELS`.
        sm: 80, 86, 87, 89, 90, 100 or 120. PTX for 80 runs on every later one too.
        max_shared_bytes: what the launch may ask for; the SM's maximum by default, and
            :data:`TENSORRT_SHARED_BYTES` for TensorRT.
        ptx_version: PTX ISA as 10 · major + minor; that of :data:`PTX_ISA` by default.
        shape: the arguments of the kernel's ``*_specs`` function.

    Raises:
        InputError: there is no such kernel.
        UnsupportedError: the SM is not one of these, no tile fits, or this process interprets
            kernels.
        BuildError: the compiled code is not what a launch needs.
    """
    specs = KERNELS.resolve(name)(**shape)
    _require_sm(sm)
    limit = SHARED_BYTES[sm] if max_shared_bytes is None else max_shared_bytes
    needed = 0
    for spec in specs:
        kernel = compile_spec(spec, sm=sm, ptx_version=ptx_version)
        needed = kernel.shared_bytes
        if needed <= limit:
            return kernel
    raise UnsupportedError(
        f"The smallest tile of {name} on SM {sm} needs {needed} bytes of shared"
        f" memory, more than {limit}.",
        hint="Allow more, or compile for an SM that needs less.",
    )


def compile_spec(spec: KernelSpec, *, sm: int, ptx_version: int | None = None) -> AotKernel:
    """Compile one tile of a kernel; arguments and errors as for :func:`compile_kernel`."""
    _require_sm(sm)
    if triton.knobs.runtime.interpret:
        raise UnsupportedError(
            "This process interprets kernels and cannot compile them.",
            hint="Unset TRITON_INTERPRET before xopt.engines.kernels is imported.",
        )
    names = spec.function.arg_names
    # Another runtime launches one kernel behind the other.
    constants = {"DEPENDENT": False, **spec.constants}
    types = spec.arguments
    pointers = [*spec.inputs, *spec.outputs]
    source = ASTSource(
        spec.function,
        {name: "constexpr" if name in constants else types[name] for name in names},
        constexprs=constants,
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in pointers},
    )
    options: dict[str, Any] = {"num_warps": spec.num_warps, "num_stages": spec.num_stages}
    options |= {"maxnreg": spec.max_registers, **OPTIONS}
    options["ptx_version"] = PTX_ISA[sm] if ptx_version is None else ptx_version
    with triton.knobs.compilation.scope():
        # Line information holds the paths of the machine that compiles.
        triton.knobs.compilation.disable_line_info = True
        compiled = triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options)
    metadata = compiled.metadata
    scratch = {
        name: getattr(metadata, name) for name in ("global_scratch_size", "profile_scratch_size")
    }
    if any(scratch.values()):
        raise BuildError(f"{spec.name} needs scratch memory, which no launch provides: {scratch}.")
    ptx = strip_hidden_parameters(compiled.asm["ptx"], metadata.name, len(types))
    if spec.multiplies and not matrix_instructions(ptx):
        raise BuildError(f"{spec.name} compiled for SM {sm} holds no matrix instruction.")
    return AotKernel(
        name=spec.name,
        sm=sm,
        entry=metadata.name,
        ptx_version=options["ptx_version"],
        ptx=ptx,
        parameters=tuple(types.items()),
        constants=dict(spec.constants),
        grid=spec.grid,
        num_warps=spec.num_warps,
        shared_bytes=metadata.shared,
        triton_version=triton.__version__,
    )


def _require_sm(sm: int) -> None:
    if sm in SHARED_BYTES:
        return
    possible = ", ".join(map(str, SHARED_BYTES))
    if sm < min(SHARED_BYTES):
        raise UnsupportedError(
            f"No kernel is compiled for SM {sm}: {TOO_OLD}",
            hint=f"Use TensorRT's own attention there; the kernels are for SM {possible}.",
        )
    raise UnsupportedError(f"SM {sm} is not one that was tested.", hint=f"Possible: {possible}.")
