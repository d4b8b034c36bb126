"""``xopt doctor``."""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any

from xopt.cli.app import app
from xopt.cli.common import JsonOption
from xopt.cli.output import console, print_json, table
from xopt.hashing import cache_folder
from xopt.host import host_facts, tool_versions

__all__ = ["doctor"]

# extra -> (module, distribution) of everything it brings
EXTRAS: dict[str, dict[str, str]] = {
    "build": {
        "torch": "torch",
        "transformers": "transformers",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "safetensors": "safetensors",
        "huggingface_hub": "huggingface-hub",
        "datasets": "datasets",
        "pyarrow": "pyarrow",
        "modelopt": "nvidia-modelopt",
    },
    "cuda": {"safetensors": "safetensors", "torch": "torch", "triton": "triton"},
    "tensorrt": {"tensorrt": "tensorrt"},
    "tensorrt-rtx": {"tensorrt_rtx": "tensorrt-rtx"},
}

# The oldest GPU that the CUDA engine runs on, as an SM.
CUDA_SM = 80


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """What this machine can build and run, and the one command that adds the rest."""
    document = _examine()
    if as_json:
        print_json(document)
        return
    host = document["host"]
    out = console()
    out.print(
        f"{host['cpu']}, {host['cores']} cores ({' '.join(host['flags']) or 'no INT8 extension'}), "
        f"{host['memory_mib'] / 1024:.0f} GiB, {host['system']}, Python {host['python']}\n"
        f"GPU: {document['gpu'] or 'none'}\n"
        f"cache: {document['cache']['folder']}, {document['cache']['size_mib']:,.0f} MiB "
        "(safe to delete)",
        highlight=False,
    )
    marks = {True: "[green]yes[/green]", False: "no"}
    table(
        "targets",
        ["target", "builds", "runs", "why not"],
        [
            [t["target"], marks[t["builds"]], marks[t["runs"]], t["why_not"]]
            for t in document["targets"]
        ],
    )
    table(
        "extras",
        ["extra", "installed", "missing"],
        [[e, ", ".join(f"{n} {v}" for n, v in f["installed"].items()), ", ".join(f["missing"])]
         for e, f in document["extras"].items()],
        left=3,
    )  # fmt: skip
    if document["add"]:
        out.print(f"To add the rest: {document['add']}", highlight=False)


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
    targets = [_openvino(missing["build"]), _cuda(missing["build"], missing["cuda"], gpus)]
    return {
        "host": host_facts(),
        "gpu": ", ".join(f"{name} (SM {sm})" for name, sm in gpus) or None,
        "extras": extras,
        "targets": targets,
        "cache": {"folder": str(cache_folder()), "size_mib": _cache_mib()},
        "add": _add(missing, gpus),
    }


def _add(missing: dict[str, list[str]], gpus: list[tuple[str, int]]) -> str:
    """The one command that brings what this machine could use and lacks."""
    wanted = ["build"] + (["cuda"] if gpus else [])
    lacking = [name for name in wanted if missing[name]]
    return f"pip install 'xopt[{','.join(lacking)}]'" if lacking else ""


def _openvino(build_lacks: list[str]) -> dict[str, Any]:
    return {
        "target": "openvino (cpu)",
        "builds": not build_lacks,
        "runs": importlib.util.find_spec("openvino") is not None,
        "why_not": f"build needs {', '.join(build_lacks)}" if build_lacks else "",
    }


def _cuda(
    build_lacks: list[str], run_lacks: list[str], gpus: list[tuple[str, int]]
) -> dict[str, Any]:
    reasons = [f"build needs {', '.join(build_lacks)}"] if build_lacks else []
    if run_lacks:
        reasons.append(f"run needs {', '.join(run_lacks)}")
    fit = any(sm >= CUDA_SM for _, sm in gpus)
    if not gpus:
        reasons.append("no NVIDIA GPU")
    elif not fit:
        reasons.append(f"Triton's matrix product has no use before SM {CUDA_SM}")
    elif not run_lacks and not _torch_sees_gpu():
        fit = False
        reasons.append("this PyTorch is built without CUDA, or finds no driver")
    return {
        "target": "cuda",
        "builds": not build_lacks,
        "runs": fit and not run_lacks,
        "why_not": "; ".join(reasons),
    }


def _gpus() -> list[tuple[str, int]]:
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


def _torch_sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


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
