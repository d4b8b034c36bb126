"""The table of targets that can be built for."""

from __future__ import annotations

from typing import Any

from xopt.engines.building import Builder
from xopt.errors import InputError
from xopt.registry import Registry

__all__ = ["BUILDERS", "engine_of"]

BUILDERS: Registry[type[Builder[Any, Any]]] = Registry(
    "target",
    {
        "openvino": "xopt.engines.openvino:OpenVinoBuilder",
        "cuda": "xopt.engines.cuda:CudaBuilder",
        "tensorrt": "xopt.engines.tensorrt.enterprise:TensorRtBuilder",
        "tensorrt-rtx": "xopt.engines.tensorrt.rtx:RtxBuilder",
        # The only one that starts from the checkpoint, which no engine knows.
        "torch-tensorrt": "xopt.compile.export_torch_tensorrt:TorchTensorRtBuilder",
        "null": "xopt.engines.null:NullBuilder",
    },
)

# `cpu` is what people type.
ALIASES = {"cpu": "openvino"}


def engine_of(target: str) -> str:
    """A target as the engines' table spells it.

    Raises:
        InputError: there is no such target.
    """
    name = ALIASES.get(target, target)
    if name not in BUILDERS:
        raise InputError(
            f"Unknown target {target!r}.",
            hint="Possible: cpu; for NVIDIA GPUs tensorrt-rtx, tensorrt, cuda, torch-tensorrt.",
        )
    return name
