"""The CUDA engine's bundles.

In Triton's interpreter unless ``TRITON_INTERPRET=0``; then on a GPU, where every batch runs three
times: launch by launch, while its graph is captured, and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.engines.cuda.made import ENCODERS, INTERPRETED, REPOSITORY, Build, Factory
from tests.scripts import load_script

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder


@pytest.fixture(autouse=True)
def has_device() -> None:
    if not INTERPRETED and not torch.cuda.is_available():
        pytest.skip("no GPU")


@pytest.fixture(scope="module")
def gpu_build() -> ModuleType:
    """``benchmarks/gpu_build.py``, which makes a bundle without ONNX."""
    return load_script(REPOSITORY / "benchmarks" / "gpu_build.py")


@pytest.fixture(scope="module")
def opened(make_checkpoint: Factory) -> Callable[[str], Checkpoint]:
    folders: dict[str, Path] = {}

    def open_checkpoint(name: str) -> Checkpoint:
        model_type, head, options = ENCODERS[name]
        if name not in folders:
            folders[name] = make_checkpoint(model_type, head)
        return Checkpoint.open(folders[name], **options)

    return open_checkpoint


@pytest.fixture(scope="module")
def built(opened: Callable[[str], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """What ``xopt build`` makes."""
    pytest.importorskip("onnx", reason="ONNX is not installed")
    bundles: dict[tuple[str, str], Bundle] = {}
    root = tmp_path_factory.mktemp("built")

    def build(name: str, precision: str) -> tuple[Checkpoint, Bundle]:
        checkpoint = opened(name)
        if (name, precision) not in bundles:
            options = BuildOptions(
                str(checkpoint.folder),
                precision=precision,
                target="cuda",
                out=str(root / f"{name}-{precision}"),
                calibration_tokens=1000,
                **ENCODERS[name][2],
            )
            bundles[name, precision] = build_bundle(options).bundle
        return checkpoint, bundles[name, precision]

    return build


@pytest.fixture(scope="module")
def made(
    opened: Callable[[str], Checkpoint],
    gpu_build: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """The same without a graph, which takes no time to trace."""
    bundles: dict[tuple[str, str], Bundle] = {}
    root = tmp_path_factory.mktemp("made")

    def make(name: str, precision: str) -> tuple[Checkpoint, Bundle]:
        checkpoint = opened(name)
        if (name, precision) not in bundles:
            encoder = PackedEncoder.load(checkpoint)
            ranges = gpu_build.measure_ranges(checkpoint, encoder)
            out = root / f"{name}-{precision}"
            bundles[name, precision] = gpu_build.write_bundle(
                checkpoint, encoder, precision, ranges, out
            )
        return checkpoint, bundles[name, precision]

    return make
