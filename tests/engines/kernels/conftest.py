"""Kernels run in Triton's interpreter, on a CPU; ``TRITON_INTERPRET=0`` runs them on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Triton decides when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
import torch

POISON_INT8 = 85


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """Where the tensors of the tests lie; skips without Triton."""
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    if triton.knobs.runtime.interpret:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def printed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., list[dict[str, Any]]]:
    """A script's JSON, as of ``machine_code.py``, from a process that interprets no kernel."""

    def run(script: str, *words: str) -> list[dict[str, Any]]:
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, Path(__file__).with_name(script), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    return run


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel module allocates begins as NaN, so that an element never written shows."""

    def poison(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocate_poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
            tensor = allocate(*args, **kwargs)
            caller = sys._getframe(1).f_globals["__name__"]
            if caller.startswith("xopt.engines.kernels"):
                tensor.fill_(torch.nan if tensor.is_floating_point() else POISON_INT8)
            return tensor

        return allocate_poisoned

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poison(getattr(torch, name)))


@pytest.fixture
def cu_seqlens(device: torch.device) -> Callable[[list[int]], torch.Tensor]:
    """Lengths of sentences to ``[B + 1]`` int32."""

    def begin(lengths: list[int]) -> torch.Tensor:
        return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)

    return begin
