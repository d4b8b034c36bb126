"""Torch-TensorRT's part that runs: our attention as an operator of PyTorch, and the engine.

What Torch-TensorRT builds from the whole encoder is an engine like any other of TensorRT, so it
runs without PyTorch. Its releases pin PyTorch and TensorRT, hence the extra of its own.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from xopt.engines.tensorrt.filling import Sizes
from xopt.engines.tensorrt.plugin import ATTENTION, NAMESPACE, PluginTarget, register_plugins
from xopt.engines.tensorrt.runtime import TensorRtEngine
from xopt.errors import UnsupportedError, require
from xopt.packing import PackedBatch

__all__ = [
    "TorchTensorRtEngine",
    "attention_operator",
    "load_torch_tensorrt",
    "register_converter",
]

WHY = "The target torch-tensorrt"
EXTRA = "torch-tensorrt"


class TorchTensorRtEngine(TensorRtEngine):
    """A session of an engine that reads the packed batch as the PyTorch module does."""

    name = "torch-tensorrt"
    extra = EXTRA

    def _arrays(self, batch: PackedBatch, sizes: Sizes) -> dict[str, NDArray[Any]]:
        # The last axis of an index is for ONNX's GatherND.
        return {
            name: array[..., 0] if name in ("pad_index", "unpad_index") else array
            for name, array in super()._arrays(batch, sizes).items()
        }


def load_torch_tensorrt() -> ModuleType:
    """The module ``torch_tensorrt``.

    Raises:
        MissingExtraError: it is not installed.
        UnsupportedError: it does not load here; it asks for a GPU while it is imported.
    """
    try:
        return require("torch_tensorrt", extra=EXTRA, why=WHY)
    except (RuntimeError, AssertionError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"Torch-TensorRT does not load here: {reason[0]}",
            hint="It needs an NVIDIA GPU and its driver, also to build. To build without one: "
            "xopt build CHECKPOINT --target tensorrt-rtx",
        ) from error


@functools.cache
def attention_operator() -> Any:
    """``torch.ops.xopt.VarlenAttention(qkv, cu_seqlens, head_dim, heads)``, defined once.

    ``qkv`` is ``[T, 3·H]``, the answer ``[T, H]``; eagerly it runs our Triton kernel.
    """
    torch = require("torch", extra=EXTRA, why=WHY)

    def attend(qkv: Any, cu_seqlens: Any, head_dim: int, heads: int) -> Any:
        from xopt.engines.kernels.attention import varlen_attention

        tokens = qkv.shape[0]
        split = qkv.view(tokens, 3, heads, head_dim)
        return varlen_attention(split, cu_seqlens, max(1, tokens)).view(tokens, heads * head_dim)

    def shape(qkv: Any, cu_seqlens: Any, head_dim: int, heads: int) -> Any:
        return qkv.new_empty(qkv.shape[0], heads * head_dim)

    name = f"{NAMESPACE}::{ATTENTION}"
    schema = "(Tensor qkv, Tensor cu_seqlens, int head_dim, int heads) -> Tensor"
    operator = torch.library.custom_op(name, attend, mutates_args=(), schema=schema)
    operator.register_fake(shape)
    return getattr(getattr(torch.ops, NAMESPACE), ATTENTION)


def register_converter(module: ModuleType, sm: int) -> None:
    """Have Torch-TensorRT convert the operator into our plugin, compiled ahead of time.

    A later call only changes what it is compiled for.

    Its own ``generate_plugin`` would describe a plugin that calls Python while the engine runs.

    Args:
        module: ``torch_tensorrt``.
        sm: compute capability to compile the kernel for.
    """
    trt = require("tensorrt", extra=EXTRA, why=WHY)
    plugins = require("tensorrt.plugin", extra=EXTRA, why=WHY)
    _registered(module, trt, plugins).sm = sm


@functools.cache
def _registered(module: ModuleType, trt: ModuleType, plugins: ModuleType) -> PluginTarget:
    """What the registered plugins compile for; a process can register them only once."""
    target = PluginTarget()
    register_plugins(trt, plugins, target)
    module.dynamo.conversion.plugins.generate_plugin_converter(
        f"{NAMESPACE}::{ATTENTION}", supports_dynamic_shapes=True, use_aot_if_available=True
    )
    return target
