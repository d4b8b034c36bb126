"""Small checkpoints and a graph for the real TensorRT-RTX; a fake TensorRT and GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.tensorrt.fake_cuda import FakeDriver

from xopt.artifacts import LoweredGraph
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]
HERE = Path(__file__).parent


def lower_int8(folder: Path) -> LoweredGraph:
    """The INT8 graph of a small checkpoint."""
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    ranges = calibrate(
        PackedEncoder.load(checkpoint),
        graph.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=1000),
        CalibrationRecipe("minmax", alpha=0.8),
        first_position=checkpoint.config.first_position,
    )
    return lower_graph(graph, lowering_for("tensorrt-rtx", "int8"), ranges, checkpoint=checkpoint)


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Factory) -> Callable[[str], Path]:
    """``checkpoint("tag")``: one of each head, so that each is traced once."""
    made: dict[str, Path] = {}

    def once(head: str) -> Path:
        if head not in made:
            made[head] = make_checkpoint("xlm-roberta", head)
        return made[head]

    return once


@pytest.fixture(scope="session")
def lowered(checkpoint: Callable[[str], Path]) -> LoweredGraph:
    return lower_int8(checkpoint("tag"))


@pytest.fixture
def driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The fake GPU; the fake TensorRT can be imported here and in the child."""
    folder = str(HERE / "fake_builder")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *filter(None, sys.path)]))
    # The child compiles kernels.
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))
    for name in ("tensorrt", "tensorrt.plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield FakeDriver()
    for name in ("tensorrt", "tensorrt.plugin"):
        sys.modules.pop(name, None)
