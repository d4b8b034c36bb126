"""Attention as a TensorRT plugin: our Triton kernel, compiled ahead of time into the engine.

Written for ``tensorrt.plugin`` ("quickly deployable plugins") of TensorRT 10.9 and later, whose
rules are these. Type hints are read as they stand, so no string may stand for one. Tensors come
before attributes, and every attribute is handed to the ahead-of-time function by position, in the
order in which the parser found it: so they are registered by the alphabet, as ONNX's library writes
them, and none is taken for another. A layer
is one kernel without scratch memory; its arguments are the inputs, then 32-bit integers, then the
outputs; its grid follows from shapes alone. An expression over shapes stands to the left of a
number, never to the right.

Two operators, both over packed sentences, ``T`` tokens of ``B`` sentences:

    xopt::VarlenAttention      (qkv [T, 3·H] fp16, cu_seqlens [B + 1] int32; head_dim, heads)
    xopt::VarlenAttentionInt8  (qkv [T, 3·H] int8, cu_seqlens, qkv_scale [3] fp32;
                                head_dim, heads, out_int8)

give ``[T, H]``: fp16, or int8 where ``out_int8`` is 1. An int8 result has no scale of its own: its
step divides the scale of V, in ``qkv_scale``, so that one compiled kernel serves every layer.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xopt.errors import BuildError, UnsupportedError, require

if TYPE_CHECKING:
    from xopt.engines.kernels.aot import AotKernel

__all__ = [
    "ATTENTION",
    "ATTENTION_INT8",
    "NAMESPACE",
    "VERSION",
    "PluginTarget",
    "plugin_ptx",
    "plugin_sm",
    "register_plugins",
]

NAMESPACE = "xopt"
ATTENTION = "VarlenAttention"
ATTENTION_INT8 = "VarlenAttentionInt8"
# TensorRT gives this version to every such plugin.
VERSION = "1"

WHY = "Attention as a TensorRT plugin"
# PTX for these runs on every later GPU; that for 90 and above only on the GPU it names.
FORWARD = (80, 86, 87, 89)


@dataclass
class PluginTarget:
    """What the registered plugins compile for; set before a network is parsed.

    Attributes:
        sm: compute capability, as 10 · major + minor.
    """

    sm: int = 80


def plugin_sm(device: int, *, ampere_plus: bool = False) -> int:
    """The SM to compile the kernel for, so that it runs on ``device``.

    Args:
        device: the GPU's compute capability, as 10 · major + minor.
        ampere_plus: whether the engine must run on every GPU from SM 80 on.

    Raises:
        UnsupportedError: the GPU is older than SM 80.
    """
    from xopt.engines.kernels.aot import SHARED_BYTES

    if device < min(FORWARD):
        raise UnsupportedError(
            f"The attention plugin needs a GPU of SM 80 or later; this one is SM {device}.",
            hint="Build with TensorRT's own attention: --attention native",
        )
    if ampere_plus:
        return min(FORWARD)
    if device in SHARED_BYTES:
        return device
    return max(sm for sm in FORWARD if sm <= device)


def plugin_ptx(sm: int) -> dict[str, int]:
    """What of a kernel's PTX decides which driver takes it: SM, and ISA as 10 · major + minor."""
    from xopt.engines.kernels.aot import PTX_ISA

    return {"sm": sm, "isa": PTX_ISA[sm]}


@functools.cache
def fitting_kernels(
    operator: str, sm: int, heads: int, head_dim: int, out_int8: bool
) -> tuple[AotKernel, ...]:
    """Every tile of the operator that TensorRT can launch, the largest first.

    Raises:
        MissingExtraError: Triton is not installed.
        UnsupportedError: no tile fits into the shared memory that TensorRT gives.
    """
    for module in ("torch", "triton"):
        require(module, extra="cuda", why=WHY)
    from xopt.engines.kernels.aot import TENSORRT_SHARED_BYTES, compile_spec
    from xopt.engines.kernels.aot_specs import attention_int8_specs, attention_specs

    if operator == ATTENTION:
        specs = attention_specs(heads=heads, head_dim=head_dim)
    else:
        specs = attention_int8_specs(
            heads=heads, head_dim=head_dim, out_scale=1.0 if out_int8 else None
        )
    compiled = [compile_spec(spec, sm=sm) for spec in specs]
    kernels = tuple(k for k in compiled if k.shared_bytes <= TENSORRT_SHARED_BYTES)
    if not kernels:
        least = min(kernel.shared_bytes for kernel in compiled)
        raise UnsupportedError(
            f"The smallest tile of {operator} on SM {sm} needs {least} bytes of shared memory;"
            f" TensorRT is known to give {TENSORRT_SHARED_BYTES}.",
            hint="Build with TensorRT's own attention: --attention native",
        )
    return kernels


def register_plugins(trt: Any, trtp: ModuleType | Any, target: PluginTarget) -> None:
    """Tell ``tensorrt.plugin`` of both operators, once in a process.

    Args:
        trt: the module ``tensorrt``.
        trtp: the module ``tensorrt.plugin``.
        target: read whenever TensorRT asks for a kernel.
    """
    _register_attention(trt, trtp, target)
    _register_attention_int8(trt, trtp, target)


def _register_attention(trt: Any, trtp: Any, target: PluginTarget) -> None:
    name = f"{NAMESPACE}::{ATTENTION}"

    def describe(qkv: Any, cu_seqlens: Any, head_dim: int, heads: int) -> Any:
        return _context(trtp, qkv, heads, head_dim, trt.DataType.HALF)

    def tune(qkv: Any, cu_seqlens: Any, head_dim: int, heads: int, outputs: Any) -> Any:
        kernels = fitting_kernels(ATTENTION, target.sm, heads, head_dim, False)
        return _combinations(trtp, "FP16, INT32, FP16", len(kernels))

    def launch(
        qkv: Any, cu_seqlens: Any, head_dim: int, heads: int, outputs: Any, tactic: int
    ) -> Any:
        kernels = fitting_kernels(ATTENTION, target.sm, heads, head_dim, False)
        return _launch(trtp, _choose(kernels, tactic), qkv, cu_seqlens)

    tensors = ("qkv", "cu_seqlens")
    _hint(trtp, (describe, tune, launch), tensors, ("head_dim", "heads"))
    trtp.register(name)(describe)
    trtp.autotune(name)(tune)
    trtp.aot_impl(name)(launch)


def _register_attention_int8(trt: Any, trtp: Any, target: PluginTarget) -> None:
    name = f"{NAMESPACE}::{ATTENTION_INT8}"

    def describe(
        qkv: Any, cu_seqlens: Any, qkv_scale: Any, head_dim: int, heads: int, out_int8: int
    ) -> Any:
        dtype = trt.DataType.INT8 if out_int8 else trt.DataType.HALF
        return _context(trtp, qkv, heads, head_dim, dtype)

    def tune(
        qkv: Any, cu_seqlens: Any, qkv_scale: Any, head_dim: int, heads: int, out_int8: int,
        outputs: Any,
    ) -> Any:  # fmt: skip
        kernels = fitting_kernels(ATTENTION_INT8, target.sm, heads, head_dim, bool(out_int8))
        result = "INT8" if out_int8 else "FP16"
        return _combinations(trtp, f"INT8, INT32, FP32, {result}", len(kernels))

    def launch(
        qkv: Any, cu_seqlens: Any, qkv_scale: Any, head_dim: int, heads: int, out_int8: int,
        outputs: Any, tactic: int,
    ) -> Any:  # fmt: skip
        kernels = fitting_kernels(ATTENTION_INT8, target.sm, heads, head_dim, bool(out_int8))
        return _launch(trtp, _choose(kernels, tactic), qkv, cu_seqlens)

    tensors = ("qkv", "cu_seqlens", "qkv_scale")
    _hint(trtp, (describe, tune, launch), tensors, ("head_dim", "heads", "out_int8"))
    trtp.register(name)(describe)
    trtp.autotune(name)(tune)
    trtp.aot_impl(name)(launch)


def _hint(
    trtp: Any,
    functions: tuple[Any, Any, Any],
    tensors: tuple[str, ...],
    attributes: tuple[str, ...],
) -> None:
    """Give each function the type hints that ``tensorrt.plugin`` reads and this file cannot spell.

    The module is imported only where it is used, so a hint in the source would be a string.
    """
    inputs = dict.fromkeys(tensors, trtp.TensorDesc) | dict.fromkeys(attributes, int)
    outputs = {"outputs": tuple[trtp.TensorDesc]}
    describe, tune, launch = functions
    describe.__annotations__ = inputs | {"return": trtp.TensorDesc}
    tune.__annotations__ = inputs | outputs | {"return": list[trtp.AutoTuneCombination]}
    launch.__annotations__ = (
        inputs
        | outputs
        | {"tactic": int, "return": tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]}
    )


def _context(trtp: Any, qkv: Any, heads: int, head_dim: int, dtype: Any) -> Any:
    return trtp.from_shape_expr((qkv.shape_expr[0], heads * head_dim), dtype=dtype)


def _combinations(trtp: Any, types: str, kernels: int) -> list[Any]:
    """One combination of types; a tactic, counted from 1, for each kernel."""
    return [trtp.AutoTuneCombination(types, "LINEAR", list(range(1, kernels + 1)))]


def _choose(kernels: tuple[AotKernel, ...], tactic: int) -> AotKernel:
    """The kernel of a tactic; 0, which TensorRT uses where it tunes nothing, is the largest."""
    if tactic > len(kernels):
        raise BuildError(f"TensorRT asks for tactic {tactic}; there are {len(kernels)}.")
    return kernels[max(tactic - 1, 0)]


def _launch(trtp: Any, kernel: AotKernel, qkv: Any, cu_seqlens: Any) -> tuple[str, str, Any, Any]:
    """Entry, PTX, launch and extra arguments of a kernel, as TensorRT takes them."""
    tokens = qkv.shape_expr[0]
    sentences = cu_seqlens.shape_expr[0] - 1
    params = trtp.KernelLaunchParams()
    params.grid_x, params.grid_y, params.grid_z = kernel.grid.grid(
        tokens, sentences, cdiv=trtp.cdiv
    )
    params.block_x = kernel.block_threads
    params.shared_mem = kernel.shared_bytes
    extra = trtp.SymIntExprs(2)
    # A plain number or expression would be refused: the entry must say that it has 32 bits.
    extra[0], extra[1] = trtp.SymInt32(tokens), trtp.SymInt32(sentences)
    return kernel.entry, kernel.ptx, params, extra
