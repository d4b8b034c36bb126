"""How many cores a process may keep busy: physical ones it may run on, within its cgroup's quota.

Two threads of one core share its multipliers, so a stream on each makes both slow; and a container
that may use two cores of a large host is stopped by the kernel when it runs on more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["allowed_cpus", "cpu_quota", "physical_cores", "usable_cores"]

# Where cgroup v1 keeps the quota, in its usual mounts.
V1_FOLDERS = ("cpu,cpuacct", "cpu", "cpuacct,cpu")


def allowed_cpus() -> set[int]:
    """Numbers of the logical CPUs that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def usable_cores(root: Path = Path("/"), allowed: Collection[int] | None = None) -> int:
    """The number of cores to plan for, at least 1.

    Args:
        root: the folder with ``proc`` and ``sys``.
        allowed: logical CPUs; those of this process by default.
    """
    cores = physical_cores(root, allowed_cpus() if allowed is None else allowed)
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def physical_cores(root: Path, allowed: Collection[int]) -> int:
    """Distinct cores among logical CPUs; a CPU whose core is not told counts as one."""
    return max(1, len({_core(root, cpu) for cpu in allowed}))


def _core(root: Path, cpu: int) -> tuple[str, ...]:
    """What all threads of a CPU's core have in common, and no other core's."""
    topology = root / "sys" / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
    # Which CPUs they are; the second one is its name before Linux 5.3.
    for name in ("core_cpus_list", "thread_siblings_list"):
        if threads := _read(topology / name):
            return "threads", threads
    core = _read(topology / "core_id")
    if not core.isdecimal():
        # Nothing, or -1 of a kernel that was not told either.
        return "cpu", str(cpu)
    # Cores are numbered within a cluster or a die where there are some.
    above = ("physical_package_id", "die_id", "cluster_id")
    return "core", *(_read(topology / name) for name in above), core


def cpu_quota(root: Path) -> float | None:
    """CPUs that the cgroup of this process may use, the least of it and its parents.

    Reads ``cpu.max`` of cgroup v2, or ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` of v1; None
    where nothing limits it.
    """
    mount = root / "sys" / "fs" / "cgroup"
    found = []
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found += [_v2(folder) for folder in _upwards(mount, path)]
        elif "cpu" in controllers.split(","):
            for name in V1_FOLDERS:
                found += [_v1(folder) for folder in _upwards(mount / name, path)]
    limits = [limit for limit in found if limit is not None]
    return min(limits, default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    """A cgroup's folder and its parents' as far as they are mounted here, up to the mount."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return [mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _v2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    try:
        limit = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return limit if 0 < limit < math.inf else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
