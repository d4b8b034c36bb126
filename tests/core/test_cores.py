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


def tell(root: Path, cpu: int, **facts: object) -> None:
    """What Linux tells of a CPU's place."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    folder.mkdir(parents=True, exist_ok=True)
    for name, fact in facts.items():
        (folder / name).write_text(f"{fact}\n")


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
def test_threads_of_a_core_are_told_by_their_list(tmp_path: Path, name: str) -> None:
    """Four fast cores of two threads, four slow ones of one; numbers of cores have gaps."""
    for cpu in range(8):
        tell(tmp_path, cpu, physical_package_id=0, core_id=cpu // 2 * 4,
             **{name: f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"})  # fmt: skip
    for cpu in range(8, 12):
        tell(tmp_path, cpu, physical_package_id=0, core_id=cpu + 8, **{name: cpu})
    assert physical_cores(tmp_path, range(12)) == 8
    # CPU 3 is off: its neighbour is alone on the core, and the list says so.
    tell(tmp_path, 2, **{name: 2})
    assert physical_cores(tmp_path, [0, 1, 2, *range(4, 12)]) == 8
    assert physical_cores(tmp_path, [1, 5, 8]) == 3


@pytest.mark.parametrize("group", ["cluster_id", "die_id"])
@pytest.mark.parametrize("listed", [True, False])
def test_clusters_and_dies_of_one_package_number_their_cores_alike(
    tmp_path: Path, group: str, listed: bool
) -> None:
    """As Linux 6 tells two clusters of 4 on AArch64."""
    for cpu in range(8):
        tell(tmp_path, cpu, physical_package_id=0, core_id=cpu % 4, **{group: cpu // 4})
        if listed:
            tell(tmp_path, cpu, core_cpus_list=cpu)
    assert physical_cores(tmp_path, range(8)) == 8


def test_a_number_that_says_unknown_joins_no_cores(tmp_path: Path) -> None:
    for cpu in range(4):
        tell(tmp_path, cpu, physical_package_id=-1, core_id=-1)
    assert physical_cores(tmp_path, range(4)) == 4


@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "650000 100000"}, 6),
        ("0::/", {"cpu.max": "20000000 100000"}, 64),
        ("0::/", {"cpu.max": "nonsense"}, 64),
        ("0::/", {"cpu.max": "inf 100000"}, 64),
        ("0::/", {"cpu.max": "nan 100000"}, 64),
        ("0::/", {"cpu.max": "100000 0"}, 64),
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
