"""What the doctor says of each target, on machines that are not this one, and on this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.cli import doctor, doctor_targets
from xopt.cli.app import app
from xopt.cli.doctor_targets import EXTRAS, Gpu, examine_targets
from xopt.distribution import install_command

L4: Gpu = ("NVIDIA L4", 89)
H100: Gpu = ("NVIDIA H100", 90)
T4: Gpu = ("Tesla T4", 75)
ORIN: Gpu = ("Orin", 87)
PASCAL: Gpu = ("Tesla P4", 61)


def examine(
    monkeypatch: pytest.MonkeyPatch, gpus: list[Gpu], *lacks: str, tensorrt: str = "11.4.0.106"
) -> dict[str, dict[str, Any]]:
    """The rows by target, where the extras in ``lacks`` are not installed."""
    missing = {name: [f"{name}-library"] if name in lacks else [] for name in EXTRAS}
    versions = {"tensorrt": tensorrt} if "tensorrt" not in lacks else {}

    def tool_versions(*names: str) -> dict[str, str]:
        return {name: versions[name] for name in names if name in versions}

    monkeypatch.setattr(doctor_targets, "tool_versions", tool_versions)
    monkeypatch.setattr(doctor_targets, "_torch_sees_gpu", lambda: True)
    return {row["target"]: row for row in examine_targets(missing, gpus)}


def abilities(rows: dict[str, dict[str, Any]]) -> dict[str, tuple[bool, bool]]:
    return {target: (row["builds"], row["runs"]) for target, row in rows.items()}


def test_an_l4_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = examine(monkeypatch, [L4])
    assert set(abilities(rows).values()) == {(True, True)}
    assert {row["why_not"] for row in rows.values()} == {""}
    assert {row["add"] for row in rows.values()} == {""}
    assert rows["tensorrt"]["library"] == "tensorrt 11.4.0.106"
    assert rows["tensorrt"]["gpu"] == "NVIDIA L4 (SM 89)"


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = examine(monkeypatch, [])
    assert abilities(rows) == {
        "openvino (cpu)": (True, True),
        "cuda": (True, False),
        "tensorrt": (False, False),
        "tensorrt-rtx": (True, False),
        "torch-tensorrt": (False, False),
    }
    assert all("no NVIDIA GPU" in row["why_not"] for t, row in rows.items() if "cpu" not in t)


@pytest.mark.parametrize(
    ("gpu", "runs", "why"),
    [
        (H100, {"cuda", "tensorrt", "torch-tensorrt"}, {"tensorrt-rtx": "this GPU is SM 90"}),
        (T4, {"tensorrt", "tensorrt-rtx", "torch-tensorrt"}, {"cuda": "before SM 80"}),
        (PASCAL, set(), {"tensorrt": "begins with SM 75", "cuda": "before SM 80"}),
    ],
)
def test_other_gpus(
    monkeypatch: pytest.MonkeyPatch, gpu: Gpu, runs: set[str], why: dict[str, str]
) -> None:
    rows = examine(monkeypatch, [gpu])
    assert {target for target, row in rows.items() if row["runs"]} == {"openvino (cpu)", *runs}
    for target, part in why.items():
        assert part in rows[target]["why_not"]


def test_jetpack_6_says_what_its_tensorrt_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    row = examine(monkeypatch, [ORIN], tensorrt="10.3.0.30")["tensorrt"]
    assert (row["builds"], row["runs"]) == (False, False)
    assert "TensorRT 10.3.0.30 is older than 10.12" in row["why_not"]
    assert "JetPack 7.2.2" in row["why_not"]


def test_what_adds_the_rest_is_one_command_for_each_target(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = examine(monkeypatch, [L4], "build", "tensorrt", "torch-tensorrt")
    assert rows["tensorrt"]["add"] == install_command("build", "tensorrt")
    assert rows["tensorrt-rtx"]["add"] == install_command("build")
    assert rows["torch-tensorrt"]["add"] == install_command("build", "torch-tensorrt")
    assert rows["tensorrt"]["library"] == ""
    assert (rows["tensorrt-rtx"]["builds"], rows["tensorrt-rtx"]["runs"]) == (False, True)


@pytest.mark.parametrize(
    ("machine", "libc", "told"),
    [
        ("aarch64", ("glibc", "2.34"), True),
        ("aarch64", ("glibc", "2.35"), False),
        ("aarch64", ("", ""), False),
        ("x86_64", ("glibc", "2.28"), False),
    ],
)
def test_a_system_too_old_for_openvino_is_told_so(
    monkeypatch: pytest.MonkeyPatch, machine: str, libc: tuple[str, str], told: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    row = examine(monkeypatch, [])["openvino (cpu)"]
    assert ("glibc 2.35" in row["why_not"]) is told
    assert not row["runs"]


def test_doctor_says_what_this_machine_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-m", "xopt", "doctor", *arguments],
            capture_output=True, cwd=tmp_path, check=True, text=True,
            env=os.environ | {"COLUMNS": "200"},
        ).stdout  # fmt: skip

    found = json.loads(doctor("--json"))
    assert found["host"]["cores"] >= 1
    [cpu] = [t for t in found["targets"] if t["target"].startswith("openvino")]
    assert cpu["runs"]
    assert cpu["builds"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    shown = doctor()
    # With its brackets, which are no markup.
    assert not found["add"] or f"To add the rest: {found['add']}" in shown
    assert "attention on the CPU: OpenVINO's, which is slower: " in shown


def test_one_core_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {**doctor.host_facts(), "cores": 1}
    monkeypatch.setattr(doctor, "host_facts", lambda: facts)
    shown = CliRunner().invoke(app, ["doctor"]).stdout
    assert ", 1 core (" in shown.replace("\n", " ")


@pytest.mark.parametrize(
    ("flags", "suits", "said"),
    [
        (("avx2", "avx512f", "avx512_bf16"), True, "bf16 sites by AVX-512 BF16"),
        (("avx2", "avx512f"), True, "bf16 sites no faster than fp32"),
        # OpenVINO's layers multiply them as fp32.
        (("avx2", "avx512f", "avx512_bf16", "amx_int8"), False, "bf16 sites no faster than fp32"),
    ],
)
def test_it_says_what_bf16_sites_are_worth(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], suits: bool, said: str
) -> None:
    monkeypatch.setattr(doctor, "cpu_flags_left", lambda: flags)
    monkeypatch.setattr(doctor, "suits_here", lambda: suits)
    monkeypatch.setattr(doctor, "obstacle", lambda: "")
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert json.loads(shown.stdout)["int8"].endswith(said)
