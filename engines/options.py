"""Every option of every target, as the command line and ``xopt.toml`` name them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from xopt.engines.building import BuilderOptions
from xopt.engines.cpu import CpuOptions
from xopt.engines.tensorrt.options import RtxOptions, TensorRtOptions, TorchTensorRtOptions
from xopt.errors import InputError

__all__ = ["OPTIONS", "TargetOptions"]

OPTIONS: dict[str, type[BuilderOptions]] = {
    "openvino": CpuOptions,
    "tensorrt": TensorRtOptions,
    "tensorrt-rtx": RtxOptions,
    "torch-tensorrt": TorchTensorRtOptions,
}
# As --target takes them, where that is another name.
SPOKEN = {"openvino": "cpu"}


@dataclass(frozen=True, kw_only=True)
class TargetOptions(CpuOptions, RtxOptions, TensorRtOptions):
    """The options of all targets in one; a build reads those of its own."""

    def of(self, target: str, called: str = "") -> BuilderOptions:
        """The options of ``target``.

        Args:
            target: as the table of builders spells it.
            called: as the user spells it.

        Raises:
            InputError: one is given that only other targets read.
        """
        kind = OPTIONS.get(target, BuilderOptions)
        taken = {field.name: getattr(self, field.name) for field in fields(kind)}
        for field in fields(TargetOptions):
            if field.name not in taken and getattr(self, field.name) != field.default:
                readers = [
                    SPOKEN.get(name, name)
                    for name, other in OPTIONS.items()
                    if _has(other, field.name)
                ]
                raise InputError(
                    f"The target {called or target} takes no --{field.name.replace('_', '-')}.",
                    hint=f"Leave it out; it is for --target {' or '.join(readers)}.",
                )
        return kind(**taken)

    def foreign(self, target: str) -> set[str]:
        """Names of the options that are of another target than this one."""
        kind = OPTIONS.get(target, BuilderOptions)
        return {f.name for f in fields(TargetOptions) if not _has(kind, f.name)}


def _has(kind: type[BuilderOptions], name: str) -> bool:
    return any(field.name == name for field in fields(kind))
