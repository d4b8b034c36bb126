"""Triton kernels for packed batches, each beside its plain reference.

Names are imported when they are first asked for, so that importing this package loads neither
PyTorch nor Triton.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xopt.errors import require

if TYPE_CHECKING:
    from xopt.engines.kernels.aot import AotKernel, compile_kernel
    from xopt.engines.kernels.attention import varlen_attention, varlen_attention_reference
    from xopt.engines.kernels.attention_int8 import (
        varlen_attention_int8,
        varlen_attention_int8_reference,
    )
    from xopt.engines.kernels.checks import KernelInputError
    from xopt.engines.kernels.embedding import (
        embed_layer_norm,
        embed_layer_norm_int8,
        embed_layer_norm_int8_reference,
        embed_layer_norm_reference,
    )
    from xopt.engines.kernels.gate import gated, gated_reference
    from xopt.engines.kernels.gelu import bias_gelu, bias_gelu_reference
    from xopt.engines.kernels.layer_norm import (
        add_layer_norm,
        add_layer_norm_int8,
        add_layer_norm_int8_reference,
        add_layer_norm_reference,
    )
    from xopt.engines.kernels.linear import linear_int8, linear_int8_reference
    from xopt.engines.kernels.linear_float import linear_gelu, linear_gelu_reference
    from xopt.engines.kernels.norms import pre_norm, pre_norm_reference
    from xopt.engines.kernels.pooling import (
        first_pool,
        first_pool_reference,
        mean_pool,
        mean_pool_reference,
    )
    from xopt.engines.kernels.ptx import assemble_ptx
    from xopt.engines.kernels.rotary import rotate, rotate_reference
    from xopt.engines.kernels.rounding import channel_scales

__all__ = [
    "AotKernel",
    "KernelInputError",
    "add_layer_norm",
    "add_layer_norm_int8",
    "add_layer_norm_int8_reference",
    "add_layer_norm_reference",
    "assemble_ptx",
    "bias_gelu",
    "bias_gelu_reference",
    "channel_scales",
    "compile_kernel",
    "embed_layer_norm",
    "embed_layer_norm_int8",
    "embed_layer_norm_int8_reference",
    "embed_layer_norm_reference",
    "first_pool",
    "first_pool_reference",
    "gated",
    "gated_reference",
    "linear_gelu",
    "linear_gelu_reference",
    "linear_int8",
    "linear_int8_reference",
    "mean_pool",
    "mean_pool_reference",
    "pre_norm",
    "pre_norm_reference",
    "rotate",
    "rotate_reference",
    "varlen_attention",
    "varlen_attention_int8",
    "varlen_attention_int8_reference",
    "varlen_attention_reference",
]

_MODULES = {
    "aot": ("AotKernel", "compile_kernel"),
    "attention": ("varlen_attention", "varlen_attention_reference"),
    "attention_int8": ("varlen_attention_int8", "varlen_attention_int8_reference"),
    "checks": ("KernelInputError",),
    "embedding": (
        "embed_layer_norm",
        "embed_layer_norm_int8",
        "embed_layer_norm_int8_reference",
        "embed_layer_norm_reference",
    ),
    "gate": ("gated", "gated_reference"),
    "gelu": ("bias_gelu", "bias_gelu_reference"),
    "layer_norm": (
        "add_layer_norm",
        "add_layer_norm_int8",
        "add_layer_norm_int8_reference",
        "add_layer_norm_reference",
    ),
    "linear": ("linear_int8", "linear_int8_reference"),
    "linear_float": ("linear_gelu", "linear_gelu_reference"),
    "pooling": ("first_pool", "first_pool_reference", "mean_pool", "mean_pool_reference"),
    "norms": ("pre_norm", "pre_norm_reference"),
    "ptx": ("assemble_ptx",),
    "rotary": ("rotate", "rotate_reference"),
    "rounding": ("channel_scales",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = require(f"{__name__}.{_MODULE_OF[name]}", extra="cuda", why="A Triton kernel")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
