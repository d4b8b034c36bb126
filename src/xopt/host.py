"""What this machine is, as far as a measurement or a build depends on it."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

from xopt.cores import usable_cores
from xopt.distribution import VERSION
from xopt.errors import InputError, UnsupportedError

__all__ = [
    "check_count",
    "check_platform",
    "collect_cycles",
    "cpu_count",
    "cpu_facts",
    "cpu_flags",
    "cpu_flags_left",
    "host_facts",
    "int8_instructions",
    "needs_newer_glibc",
    "peak_rss_mib",
    "release_memory",
    "saturates",
    "tool_versions",
]


MOST_THREADS = 1024
# Bytes; what is held for less is not worth a collection.
WORTH_COLLECTING = 2**26
MACHINES = ("x86_64", "aarch64")
# Of OpenVINO's wheels there.
GLIBC_AARCH64 = (2, 35)


def needs_newer_glibc() -> str:
    """Why pip finds no OpenVINO here though there is one for this CPU; empty if it does.

    Its wheels for AArch64 are tagged manylinux_2_35 (2026.4.1), those for x86-64 manylinux_2_28.
    """
    library, version = platform.libc_ver()
    if platform.machine() != "aarch64" or library != "glibc":
        return ""
    number = tuple(int(part) for part in version.split(".")[:2])
    if number >= GLIBC_AARCH64:
        return ""
    return (
        f"openvino's wheels for AArch64 need glibc {'.'.join(map(str, GLIBC_AARCH64))} (Ubuntu "
        f"22.04, Debian 12), this system has {version}: use a container of one of those"
    )


@cache
def _cpuinfo() -> dict[str, str]:
    facts: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


def cpu_flags() -> list[str]:
    """The instruction sets that decide INT8 and bf16 speed, as far as this CPU has them."""
    have = set(_cpuinfo().get("flags", "").split())
    wanted = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    return [flag for flag in wanted if flag in have]


# What ONEDNN_MAX_CPU_ISA leaves of them; other values leave all.
_BF16 = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")
ISA_LEAVES = {
    "SSE41": (),
    "AVX": (),
    "AVX2": ("avx2",),
    "AVX2_VNNI": ("avx2", "avx_vnni"),
    "AVX2_VNNI_2": ("avx2", "avx_vnni"),
    "AVX512_CORE": _BF16[:2],
    "AVX512_CORE_VNNI": _BF16[:3],
    "AVX512_CORE_BF16": _BF16,
    "AVX512_CORE_FP16": _BF16,
}
# Flag -> how it is called, the best first.
INT8_NAMES = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512f": "AVX-512 without VNNI",
    "avx2": "AVX2 without VNNI",
}
X86 = ("x86_64", "AMD64", "i686")


def cpu_flags_left() -> list[str]:
    """Those of :func:`cpu_flags` that ``ONEDNN_MAX_CPU_ISA`` does not withhold.

    OpenVINO reads it, which is how another CPU is tried; what we compile keeps to it too.
    """
    asked = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    have = cpu_flags()
    left = ISA_LEAVES.get(asked.upper(), have)
    return [flag for flag in have if flag in left]


def int8_instructions() -> str:
    """The instruction set that INT8 is multiplied with here, as reports name it."""
    if platform.machine() not in X86:
        features = _cpuinfo().get("Features", "").split()
        dot = next((name for name in ("i8mm", "asimddp") if name in features), "")
        return f"{platform.machine()} {dot}".strip()
    left = cpu_flags_left()
    return next((INT8_NAMES[flag] for flag in INT8_NAMES if flag in left), "SSE without VNNI")


def saturates() -> bool:
    """Whether two products of a uint8 and an int8 are added in 16 bits, where they may not fit.

    So it is on x86 without VNNI or AMX (``vpmaddubsw``).
    """
    return int8_instructions().endswith("without VNNI")


def cpu_facts() -> dict[str, str]:
    """Model and instruction sets: what machine code for this CPU depends on."""
    return {key: _cpuinfo().get(key, "") for key in ("model name", "flags")}


def cpu_count() -> int:
    """How many cores this process may keep busy; see :func:`xopt.cores.usable_cores`."""
    return usable_cores()


def check_count(name: str, value: int) -> int:
    """``value``, a number of threads or streams.

    Raises:
        InputError: it is no number in 1..1024.
    """
    if not isinstance(value, int) or not 1 <= value <= MOST_THREADS:
        raise InputError(
            f"--{name} is {value!r}; it must lie in 1..{MOST_THREADS}.",
            hint=f"This machine has {cpu_count()} cores to use; without the option all are used.",
        )
    return value


def check_platform() -> None:
    """Refuse a system on which nothing here was ever tested.

    Raises:
        UnsupportedError: it is not Linux on x86-64 or aarch64.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in MACHINES:
        raise UnsupportedError(
            f"xopt runs on Linux ({' and '.join(MACHINES)}); this is {system} {machine}.",
            hint="Use it in a Linux container, or on Windows in WSL 2.",
        )


def memory_mib() -> int:
    """The machine's memory in MiB; 0 where it cannot be read."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError, AttributeError):
        return 0


def peak_rss_mib() -> float:
    """The most memory this process has held at once, in MiB."""
    # Windows has no such module, and `import xopt` must reach the words that refuse it.
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@cache
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; None where there is another library."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


def collect_cycles(held: int) -> None:
    """Free objects that refer to one another in circles and keep ``held`` bytes.

    A collection looks at every object of the process, with PyTorch and its exporter for the better
    part of a second; little is left to Python's own.
    """
    if held >= WORTH_COLLECTING:
        gc.collect()


def release_memory() -> None:
    """Give freed memory back to the system, after something that freed much at once.

    glibc keeps it for each thread otherwise.
    """
    trim = _trim() if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def tool_versions(*distributions: str) -> dict[str, str]:
    """Installed versions of ``distributions``; those that are absent are left out."""
    versions: dict[str, str] = {}
    for name in distributions:
        try:
            versions[name] = VERSION if name == "xopt" else metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def host_facts() -> dict[str, object]:
    """CPU, cores, instruction sets, memory, system and Python, as a JSON object."""
    return {
        "cpu": _cpuinfo().get("model name") or platform.processor() or platform.machine(),
        "cores": cpu_count(),
        "flags": cpu_flags(),
        "int8": int8_instructions(),
        "memory_mib": memory_mib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tools": tool_versions("xopt", "openvino", "tokenizers", "numpy", "torch", "transformers"),
    }
