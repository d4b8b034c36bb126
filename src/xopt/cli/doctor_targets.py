"""For each target: the library that is there, what can be built here, what can be run, and why not.

Nothing is imported that a driver would be needed for: versions come from what is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xopt.distribution import install_command
from xopt.engines.tensorrt.enterprise import check_library
from xopt.engines.tensorrt.options import RTX_SM
from xopt.errors import UnsupportedError
from xopt.host import needs_newer_glibc, tool_versions

__all__ = ["EXTRAS", "Gpu", "examine_targets"]

Gpu = tuple[str, int]

# extra -> module -> distribution of what its commands and targets import
EXTRAS: dict[str, dict[str, str]] = {
    "build": {
        "torch": "torch",
        "transformers": "transformers",
        "onnx": "onnx",
        "onnx_ir": "onnx-ir",
        "onnxscript": "onnxscript",
        "safetensors": "safetensors",
        "huggingface_hub": "huggingface-hub",
        "pyarrow": "pyarrow",
    },
    "calibrate": {"datasets": "datasets", "modelopt": "nvidia-modelopt"},
    "tune": {"accelerate": "accelerate", "scipy": "scipy"},
    "report": {"jinja2": "jinja2", "matplotlib": "matplotlib"},
    "serve": {"starlette": "starlette", "uvicorn": "uvicorn", "orjson": "orjson"},
    "sign": {"cryptography": "cryptography"},
    "cuda": {"safetensors": "safetensors", "torch": "torch", "triton": "triton"},
    "tensorrt": {"tensorrt": "tensorrt"},
    "tensorrt-rtx": {"tensorrt_rtx": "tensorrt-rtx"},
    "torch-tensorrt": {"torch_tensorrt": "torch-tensorrt", "triton": "triton"},
}

# The oldest GPU that Triton's matrix product is of use on, and TensorRT 11 builds for.
CUDA_SM, TENSORRT_SM = 80, 75
NO_GPU = "no NVIDIA GPU"


@dataclass
class Findings:
    """What was found out of one target.

    Attributes:
        build: why it cannot be built here; empty if it can.
        run: why it cannot be run here.
        extras: that would have to be installed.
    """

    build: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)

    def lack(self, extra: str, missing: Sequence[str], *, build: bool, run: bool) -> None:
        """Note what an extra lacks, and for which purpose."""
        if not missing:
            return
        self.extras.append(extra)
        for wanted, reasons, word in ((build, self.build, "build"), (run, self.run, "run")):
            if wanted:
                reasons.append(f"{word} needs {', '.join(missing)}")

    def row(self, target: str, library: str, gpu: str) -> dict[str, Any]:
        """One line of the table."""
        version = tool_versions(library)
        reasons = dict.fromkeys([*self.build, *self.run])
        return {
            "target": target,
            "library": f"{library} {version[library]}" if version else "",
            "gpu": gpu,
            "builds": not self.build,
            "runs": not self.run,
            "why_not": "; ".join(reasons),
            "add": install_command(*self.extras) if self.extras else "",
        }


def examine_targets(missing: Mapping[str, list[str]], gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """One row for each target.

    Args:
        missing: extra -> distributions of it that are not installed.
        gpus: name and SM of each GPU.
    """
    names = ", ".join(f"{name} (SM {sm})" for name, sm in gpus)
    return [
        _openvino(missing).row("openvino (cpu)", "openvino", ""),
        _cuda(missing, gpus).row("cuda", "torch", names),
        _tensorrt(missing, gpus).row("tensorrt", "tensorrt", names),
        _rtx(missing, gpus).row("tensorrt-rtx", "tensorrt-rtx", names),
        _torch_tensorrt(missing, gpus).row("torch-tensorrt", "torch-tensorrt", names),
    ]


def _openvino(missing: Mapping[str, list[str]]) -> Findings:
    found = Findings()
    found.lack("build", missing["build"], build=True, run=False)
    if importlib.util.find_spec("openvino") is None:
        found.run.append(needs_newer_glibc() or "run needs openvino")
    return found


def _cuda(missing: Mapping[str, list[str]], gpus: Sequence[Gpu]) -> Findings:
    found = Findings()
    found.lack("build", missing["build"], build=True, run=False)
    found.lack("cuda", missing["cuda"], build=False, run=True)
    if not gpus:
        found.run.append(NO_GPU)
    elif all(sm < CUDA_SM for _, sm in gpus):
        found.run.append(f"Triton's matrix product has no use before SM {CUDA_SM}")
    elif not missing["cuda"] and not _torch_sees_gpu():
        found.run.append("this PyTorch is built without CUDA, or finds no driver")
    return found


def _tensorrt(missing: Mapping[str, list[str]], gpus: Sequence[Gpu]) -> Findings:
    """Builds on the GPU it runs on."""
    found = Findings()
    found.lack("build", missing["build"], build=True, run=False)
    found.lack("tensorrt", missing["tensorrt"], build=True, run=True)
    _need_gpu(found, gpus)
    version = tool_versions("tensorrt").get("tensorrt")
    if version:
        try:
            check_library(version, plugin=False)
        except UnsupportedError as error:
            reason = f"{error.message.rstrip('.')} ({error.hint.rstrip('.')})"
            found.build.append(reason)
            found.run.append(reason)
    return found


def _rtx(missing: Mapping[str, list[str]], gpus: Sequence[Gpu]) -> Findings:
    """Builds need no GPU; runs need one of those that the library names."""
    found = Findings()
    found.lack("build", missing["build"], build=True, run=False)
    found.lack("tensorrt-rtx", missing["tensorrt-rtx"], build=True, run=True)
    if not gpus:
        found.run.append(NO_GPU)
    elif all(sm not in RTX_SM for _, sm in gpus):
        known = ", ".join(map(str, RTX_SM))
        found.run.append(f"TensorRT-RTX knows SM {known}, this GPU is SM {gpus[0][1]}")
    return found


def _torch_tensorrt(missing: Mapping[str, list[str]], gpus: Sequence[Gpu]) -> Findings:
    """Built by a library that does not even load without a GPU; run by TensorRT alone."""
    found = Findings()
    found.lack("build", missing["build"], build=True, run=False)
    found.lack("torch-tensorrt", missing["torch-tensorrt"], build=True, run=False)
    if missing["tensorrt"]:
        found.run.append("run needs tensorrt")
    _need_gpu(found, gpus)
    return found


def _need_gpu(found: Findings, gpus: Sequence[Gpu]) -> None:
    if not gpus:
        found.build.append(NO_GPU)
        found.run.append(NO_GPU)
    elif all(sm < TENSORRT_SM for _, sm in gpus):
        reason = f"TensorRT 11 begins with SM {TENSORRT_SM}, this GPU is SM {gpus[0][1]}"
        found.build.append(reason)
        found.run.append(reason)


def _torch_sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
