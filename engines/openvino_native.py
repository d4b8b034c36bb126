"""Our own operations for OpenVINO's CPU plugin, compiled on the machine that runs them.

``native/attention.cpp`` and the headers beside it read the packed batch where it lies. They are
compiled once, against the headers in OpenVINO's wheel and for this CPU, and kept in the cache
folder. Where that cannot be done, layers stay OpenVINO's own, with attention over padding, which is
slower and answers the same within rounding.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.compiled import compile_library, find_compiler, missing_compiler, read_sources
from xopt.disk_errors import disk_error, disk_hint
from xopt.hashing import cache_folder
from xopt.host import cpu_facts, cpu_flags, cpu_flags_left

__all__ = ["NativeAttention", "load_attention", "obstacle"]

log = logging.getLogger(__name__)

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast")
# What the compiler must not use where it is withheld; the first takes the others along.
WITHHELD = {
    "avx512f": "-mno-avx512f", "avx512_vnni": "-mno-avx512vnni", "avx512_bf16": "-mno-avx512bf16",
    "avx_vnni": "-mno-avxvnni", "amx_int8": "-mno-amx-int8",
}  # fmt: skip


@dataclass(frozen=True)
class NativeAttention:
    """What became of it.

    Attributes:
        factory: an ``openvino`` node factory that makes ``PackedAttention``; None where it cannot
            be had.
        reason: why not, or where it lies.
    """

    factory: Any
    reason: str


@cache
def load_attention(core: Any) -> NativeAttention:
    """Compile the operation if that was never done, and make it known to this process's core."""
    if why := obstacle():
        return NativeAttention(None, why)
    try:
        library = _library()
        from openvino.utils.node_factory import NodeFactory

        core.add_extension(library)
        factory = NodeFactory()
        factory.add_extension(library)
    except (OSError, RuntimeError, ImportError, subprocess.SubprocessError) as error:
        reason, failed = _why(error)
        # Another form rounds otherwise: nobody should find that out from the answers.
        log.warning(
            "Our own attention could not be compiled (%s). OpenVINO's is used: it is slower, and "
            "the last digits of answers are others. %s.", reason, disk_hint(failed, cache_folder())
        )  # fmt: skip
        return NativeAttention(None, reason)
    return NativeAttention(factory, str(library))


def _why(error: Exception) -> tuple[str, OSError]:
    """What failed, in a line, and as an error of the system's."""
    said = str(getattr(error, "stderr", None) or error).strip()
    lines = said.splitlines() or [type(error).__name__]
    # A compiler's last line says that it stopped, and one before why.
    reason = next((line for line in reversed(lines) if "error" in line), lines[-1])
    full = os.strerror(errno.ENOSPC) in said
    return reason, disk_error(error) or OSError(errno.ENOSPC if full else 0, reason)


def obstacle() -> str:
    """Why it cannot be had here, as far as that shows without compiling; empty if nothing shows."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "it is compiled on Linux x86-64 only"
    if "avx2" not in cpu_flags_left():
        return "this CPU has no AVX2"
    return "" if find_compiler() else missing_compiler()


def layer_times(native: NativeAttention, layers: int) -> NDArray[np.int64]:
    """Nanoseconds, ``[layers, 4]``, that our own layers spent since this process began.

    In their products, attention, norms and quantization; 0 where there are no such layers.
    """
    spent = np.zeros((layers, 4), np.int64)
    read = getattr(ctypes.CDLL(native.reason), "xopt_spent", None) if native.factory else None
    if read is not None:
        for layer, row in enumerate(spent):
            read(ctypes.c_int64(layer), row.ctypes.data_as(ctypes.c_void_p))
    return spent


def _library() -> Path:
    """The compiled library, made if it is not there; see :func:`~xopt.compiled.compile_library`."""
    import openvino

    root = Path(openvino.__file__).parent
    withheld = set(cpu_flags()) - set(cpu_flags_left())
    flags = [*FLAGS, *(no for flag, no in WITHHELD.items() if flag in withheld), *_abi(root)]
    return compile_library(
        "attention.cpp",
        read_sources(resources.files("xopt.engines").joinpath("native")),
        flags,
        facts=[openvino.get_version(), *sorted(cpu_facts().items())],
        includes=[root / "include"],
        libraries=[_only(root / "libs", name) for name in ("libopenvino.so", "libtbb.so")],
    )


def _abi(root: Path) -> list[str]:
    """The C++ ABI that the wheel was compiled with."""
    found = re.search(
        r"_GLIBCXX_USE_CXX11_ABI=\d", (root / "cmake" / "OpenVINOTargets.cmake").read_text()
    )
    return [f"-D{found[0]}"] if found else []


def _only(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}.*"))
    if len(found) != 1:
        raise OSError(f"{folder} has {len(found)} files {name}.*, not one")
    return found[0]
