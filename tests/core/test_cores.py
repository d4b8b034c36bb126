"""Cores to plan for, on simulated machines."""

from pathlib import Path

import pytest

from xopt.cores import cpu_quota, physical_cores, usable_cores


def machine(root: Path, cores: int, *, threads: int = 1) -> list[int]:
    """A machine of one package; Linux numbers the second threads behind all first ones."""
    for cpu in range(cores * threads):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n")
        (folder / "core_id").write_text(f"{cpu % cores}\n")
    return list(range(cores * threads))


def cgroup(root: Path, line: str, files: dict[str, str]) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize("cores", [1, 2, 6, 12, 64])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_one_core_count_once(tmp_path: Path, cores: int, threads: int) -> None:
    assert usable_cores(tmp_path, machine(tmp_path, cores, threads=threads)) == cores


def test_two_packages_number_their_cores_alike(tmp_path: Path) -> None:
    allowed = machine(tmp_path, 4, threads=2)
    for cpu in allowed[4:]:
        place = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"
        place.write_text("1\n")
    assert physical_cores(tmp_path, allowed) == 8


def test_only_cores_that_the_process_may_run_on(tmp_path: Path) -> None:
    machine(tmp_path, 64, threads=2)
    assert usable_cores(tmp_path, [3, 67, 5]) == 2


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, [0, 1, 2]) == 3


@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "650000 100000"}, 6),
        ("0::/", {"cpu.max": "20000000 100000"}, 64),
        ("0::/", {"cpu.max": "nonsense"}, 64),
        ("0::/pods/one", {"pods/one/cpu.max": "max 100000", "pods/cpu.max": "400000 100000"}, 4),
        # A container's path that is not mounted inside of it.
        ("0::/pods/one", {"cpu.max": "300000 100000"}, 3),
        (
            "4:cpu,cpuacct:/docker/x",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            "4:cpu,cpuacct:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            64,
        ),
        ("0::/../..", {"cpu.max": "100000 100000"}, 1),
    ],
)
def test_a_quota_of_the_cgroup_or_a_parent_limits(
    tmp_path: Path, line: str, files: dict[str, str], cores: int
) -> None:
    cgroup(tmp_path, line, files)
    assert usable_cores(tmp_path, machine(tmp_path, 64, threads=2)) == cores


def test_no_cgroup_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
