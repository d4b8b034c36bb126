"""The kernels run in Triton's interpreter unless ``TRITON_INTERPRET=0`` asks for a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xopt.engines.openvino import OpenVinoEngine

# Triton decides when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def engines(
    make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], OpenVinoEngine]:
    """CPU engines by head and precision."""
    from xopt.compile.build import BuildOptions, build_bundle
    from xopt.engines.base import open_engine
    from xopt.engines.openvino import OpenVinoEngine

    opened = {}
    for head in ("embed", "tag"):
        folder = make_checkpoint("xlm-roberta", head, hidden_size=96, num_attention_heads=3)
        for precision in ("fp32", "int8"):
            out = tmp_path_factory.mktemp("bundles") / f"{head}-{precision}"
            options = BuildOptions(
                str(folder), precision=precision, out=str(out), calibration_tokens=3000
            )
            engine = open_engine(build_bundle(options).bundle, threads=2)
            assert isinstance(engine, OpenVinoEngine)
            opened[head, precision] = engine
    return opened
