"""CPU bundles on AArch64, run by QEMU: built here, answers compared. No time means anything.

``XOPT_AARCH64`` names a folder that ``.ci/aarch64.sh`` filled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import xopt
from xopt.compile.build import BuildOptions, build_bundle

HOME = os.environ.get("XOPT_AARCH64", "")
QEMU = shutil.which("qemu-aarch64-static")
pytestmark = pytest.mark.skipif(
    not (HOME and QEMU), reason="no AArch64: XOPT_AARCH64 names no folder of .ci/aarch64.sh"
)
TEXTS = ["Habari za asubuhi", "Guten Morgen, wie geht es?", "สวัสดีตอนเช้า", "早上好", "Καλημέρα σας"]
FORMS = {"fp32": ("fp32", None), "any": ("int8", "any"), "vnni": ("int8", "vnni")}
ENCODE = """
import sys, numpy, xopt
*texts, folder = sys.argv[1:]
for name in ("fp32", "any", "vnni"):
    with xopt.load(f"{folder}/{name}") as model:
        numpy.save(f"{folder}/{name}.npy", model.encode(texts))
"""


@pytest.fixture(scope="module")
def bundles(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    checkpoint = make_checkpoint("xlm-roberta", "embed", hidden_size=96, num_attention_heads=3)
    for name, (precision, cpu) in FORMS.items():
        options = BuildOptions(
            str(checkpoint), precision=precision, cpu=cpu, out=str(folder / name),
            calibration_tokens=1500,
        )  # fmt: skip
        build_bundle(options, record=False)
    return folder


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Mean 1 − cosine."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(np.mean(1 - (ours * theirs).sum(axis=1) / lengths))


@pytest.mark.parametrize("cpu", ["cortex-a76", "max"])
def test_answers_are_those_of_this_machine(bundles: Path, cpu: str) -> None:
    root = Path(HOME) / "root"
    source = Path(xopt.__file__).parents[1]
    done = subprocess.run(
        [
            str(QEMU), "-cpu", cpu, "-L", str(root), str(root / "usr/bin/python3.11"),
            "-c", ENCODE, *TEXTS, str(bundles),
        ],
        env={**os.environ, "PYTHONPATH": f"{source}:{HOME}/site"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = {}
    for name in FORMS:
        with xopt.load(bundles / name) as model:
            here[name] = model.encode(TEXTS)
    there = {name: np.load(bundles / f"{name}.npy") for name in FORMS}
    np.testing.assert_allclose(there["fp32"], here["fp32"], atol=1e-4)
    for name in ("any", "vnni"):
        # Sums of products are whole numbers on both; what fp32 rounds otherwise between them moves
        # an answer less than 8 bits do.
        assert distance(there[name], here[name]) < distance(here[name], here["fp32"])
