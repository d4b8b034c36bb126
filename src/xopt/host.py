"""What this machine is, as far as a measurement or a build depends on it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["cpu_count", "cpu_flags", "host_facts", "peak_rss_mib", "tool_versions"]


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


def cpu_count() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_mib() -> int:
    """The machine's memory in MiB; 0 where it cannot be read."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError, AttributeError):
        return 0


def peak_rss_mib() -> float:
    """The most memory this process has held at once, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def tool_versions(*distributions: str) -> dict[str, str]:
    """Installed versions of ``distributions``; those that are absent are left out."""
    versions: dict[str, str] = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def host_facts() -> dict[str, object]:
    """CPU, cores, instruction sets, memory, system and Python, as a JSON object."""
    return {
        "cpu": _cpuinfo().get("model name") or platform.processor() or platform.machine(),
        "cores": cpu_count(),
        "flags": cpu_flags(),
        "memory_mib": memory_mib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tools": tool_versions("xopt", "openvino", "tokenizers", "numpy", "torch", "transformers"),
    }
