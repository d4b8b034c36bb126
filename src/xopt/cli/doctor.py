"""``xopt doctor``."""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.doctor_targets import EXTRAS, Gpu, examine_targets
from xopt.cli.output import console, print_json, table
from xopt.distribution import install_command
from xopt.engines.cpu import CpuOptions
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import obstacle
from xopt.hashing import cache_folder
from xopt.host import cpu_flags_left, host_facts, int8_instructions, saturates, tool_versions

__all__ = ["doctor"]


@app.command(
    epilog=examples("xopt doctor"),
    short_help="What this machine can build and run.",
)
def doctor(as_json: JsonOption = False) -> None:
    """What this machine can build and run, and the one command that adds the rest."""
    document = _examine()
    if as_json:
        print_json(document)
        return
    host = document["host"]
    out = console()
    cores = f"{host['cores']} core{'s' * (host['cores'] != 1)}"
    out.print(
        f"{host['cpu']}, {cores} ({' '.join(host['flags']) or 'no INT8 extension'}), "
        f"{host['memory_mib'] / 1024:.0f} GiB, {host['system']}, Python {host['python']}\n"
        f"INT8 on the CPU: {document['int8']}\n"
        f"attention on the CPU: {document['attention']}\n"
        f"GPU: {document['gpu'] or 'none'}\n"
        f"cache: {document['cache']['folder']}, {document['cache']['size_mib']:,.0f} MiB "
        "(safe to delete)",
        highlight=False,
    )
    marks = {True: "yes", False: "no"}
    table(
        "targets",
        ["target", "library", "builds here", "runs here"],
        [
            [t["target"], t["library"] or "none", marks[t["builds"]], marks[t["runs"]]]
            for t in document["targets"]
        ],
        left=4,
    )
    for target in document["targets"]:
        if target["why_not"]:
            add = f"  [{target['add']}]" if target["add"] else ""
            line = f"{target['target']}: {target['why_not']}{add}"
            out.print(line, highlight=False, markup=False, soft_wrap=True)
    for extra, facts in document["extras"].items():
        parts = ", ".join(f"{name} {version}" for name, version in facts["installed"].items())
        out.print(f"extra {extra}: {parts or 'nothing installed'}", highlight=False)
    if document["add"]:
        out.print(f"To add the rest: {document['add']}", highlight=False, markup=False)


def _examine() -> dict[str, Any]:
    extras: dict[str, Any] = {
        name: {
            "installed": tool_versions(*parts.values()),
            "missing": [d for m, d in parts.items() if importlib.util.find_spec(m) is None],
        }
        for name, parts in EXTRAS.items()
    }
    gpus = _gpus()
    missing = {name: facts["missing"] for name, facts in extras.items()}
    return {
        "host": host_facts(),
        "int8": _int8(),
        "attention": _attention(),
        "gpu": ", ".join(f"{name} (SM {sm})" for name, sm in gpus) or None,
        "extras": extras,
        "targets": examine_targets(missing, gpus),
        "cache": {"folder": str(cache_folder()), "size_mib": _cache_mib()},
        "add": _add(missing, gpus),
    }


def _int8() -> str:
    """With which instructions INT8 and bf16 sites run, and which numbers are built for them."""
    built = CpuOptions().numbers
    also = "runs --cpu any alone" if saturates() else "runs --cpu any and vnni"
    ours = not obstacle() and suits_here()
    brain = ours and "avx512_bf16" in cpu_flags_left()
    sites = "by AVX-512 BF16" if brain else "no faster than fp32"
    return f"{int8_instructions()}; {also}, builds --cpu {built} by default; bf16 sites {sites}"


def _attention() -> str:
    """Whether attention on the CPU is ours, and why not."""
    why_not = obstacle()
    return f"OpenVINO's, which is slower: {why_not}" if why_not else "xopt's own"


def _add(missing: dict[str, list[str]], gpus: list[Gpu]) -> str:
    """The one command that brings what this machine could use and lacks.

    TensorRT-RTX builds without a GPU. Torch-TensorRT is left out: it wants an environment of its
    own.
    """
    wanted = ["build", "tensorrt-rtx"] + (["cuda", "tensorrt"] if gpus else [])
    lacking = [name for name in wanted if missing[name]]
    return install_command(*lacking) if lacking else ""


def _gpus() -> list[Gpu]:
    """Name and SM of each NVIDIA GPU, as the driver's own tool lists them."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.rpartition(",") for line in answer.stdout.splitlines()]
    return [
        (name.strip(), int(sm.replace(".", "")))
        for name, _, sm in rows
        if sm.strip().replace(".", "").isdigit()
    ]


def _cache_mib() -> float:
    seen: set[int] = set()
    total = 0
    for path in cache_folder().rglob("*"):
        if path.is_file():
            stat = path.stat()
            if stat.st_ino not in seen:
                seen.add(stat.st_ino)
                total += stat.st_size
    return total / 2**20
