"""What every kernel checks before it is launched: the device, the dtypes and the shapes.

    XoptError
    ├── UnsupportedError        the device cannot run these kernels
    └── InputError
        └── KernelInputError    a tensor has the wrong dtype, shape, layout or device

No value of a tensor is read: that would wait for the device.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
import triton

from xopt.errors import InputError, UnsupportedError

__all__ = [
    "OLDEST_SM",
    "TOO_OLD",
    "KernelInputError",
    "capability",
    "only_tensor",
    "require_capability",
    "require_device",
    "require_dtype",
    "require_positive",
    "require_scale",
    "require_shape",
    "require_stream",
]

OLDEST_SM = 80
TOO_OLD = (
    "Triton's matrix product (tl.dot) has no use before SM 80: in fp16 it compiles to scalar"
    " multiplications, with no matrix instruction, and in INT8 it does not compile."
)


class KernelInputError(InputError):
    """A kernel was given a tensor that it does not take."""


@cache
def capability(index: int) -> int:
    """Compute capability of the CUDA device with this number, as 10 · major + minor."""
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


def require_capability(device: torch.device) -> None:
    """Check that the kernels can run on ``device``.

    Raises:
        UnsupportedError: it is no NVIDIA GPU of SM 80 or newer, and the kernels are not interpreted
            (TRITON_INTERPRET=1).
    """
    if triton.knobs.runtime.interpret:
        return
    if device.type != "cuda" or torch.version.hip is not None:
        raise UnsupportedError(
            f"The Triton kernels run on NVIDIA GPUs of SM {OLDEST_SM} or newer, not on {device}.",
            hint="For a CPU, build with --target cpu; set TRITON_INTERPRET=1 to test the kernels.",
        )
    if capability(device.index) < OLDEST_SM:
        raise UnsupportedError(
            f"{torch.cuda.get_device_name(device)} is SM {capability(device.index)}: {TOO_OLD}",
            hint="Build with --target cpu; for SM 75 also with tensorrt, or tensorrt-rtx --sm 75.",
        )


def require_device(*tensors: torch.Tensor | None) -> None:
    """Check that the tensors are contiguous, on one device, and that the kernels can run there.

    Raises:
        UnsupportedError: see :func:`require_capability`.
        KernelInputError: the tensors lie on several devices, or one is not contiguous.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    device = given[0].device
    for tensor in given:
        if tensor.device != device:
            raise KernelInputError(
                f"The tensors of one kernel lie on {device} and {tensor.device}.",
                hint="Move them to one device.",
            )
        if not tensor.is_contiguous():
            raise KernelInputError(
                f"A tensor of shape {list(tensor.shape)} has strides {list(tensor.stride())};"
                " the kernels read contiguous tensors only.",
                hint="Call .contiguous() where the tensor is made.",
            )
    require_capability(device)
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        raise KernelInputError(
            f"The tensors lie on {device}, the current device is {torch.cuda.current_device()}.",
            hint=f"Launch inside `with torch.cuda.device({device.index}):`.",
        )


def require_dtype(name: str, tensor: torch.Tensor, allowed: Iterable[torch.dtype]) -> None:
    """Check a tensor's dtype; KernelInputError names the dtypes allowed."""
    allowed = tuple(allowed)
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise KernelInputError(f"{name} is {tensor.dtype}; this kernel takes {names}.")


def require_shape(name: str, tensor: torch.Tensor, shape: tuple[int | str, ...]) -> None:
    """Check a tensor's shape, in which a string stands for any length.

    Raises:
        KernelInputError: the shape differs.
    """
    matches = tensor.dim() == len(shape) and all(
        isinstance(want, str) or want == have
        for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join(str(length) for length in shape)
        raise KernelInputError(f"{name} has shape {list(tensor.shape)}; expected [{wanted}].")


def require_positive(**numbers: float | None) -> None:
    """Check that every number given is above 0; KernelInputError names the one that is not."""
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise KernelInputError(f"{name} must be above 0, not {number}.")


def require_scale(name: str, scale: float | torch.Tensor | None, columns: int) -> None:
    """Check a scale: a number above 0, or ``channel_scales``, whose values are not read."""
    if isinstance(scale, torch.Tensor):
        require_shape(name, scale, (2, columns))
        require_dtype(name, scale, [torch.float32])
    else:
        require_positive(**{name: scale})


def require_stream(stream: torch.Tensor | None, tokens: int) -> None:
    """Check the residual stream, where it is told what int8 cannot say."""
    if stream is not None:
        require_shape("stream", stream, (tokens, "hidden"))
        require_dtype("stream", stream, [torch.float16, torch.bfloat16, torch.float32])


def only_tensor(scale: float | torch.Tensor | None) -> torch.Tensor | None:
    """``scale`` if it is a tensor, for :func:`require_device`."""
    return scale if isinstance(scale, torch.Tensor) else None
