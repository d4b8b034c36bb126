"""Bundles for the CUDA engine, batches, and the engine on what is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.artifacts import Bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.engines.base import Engine, open_engine
from xopt.packing import Encoding, PackedBatch, pack

triton = pytest.importorskip("triton", reason="Triton is not installed")

from xopt.engines.cuda import CudaEngine  # noqa: E402

Factory = Callable[..., Path]
Build = Callable[[str, str], tuple[Checkpoint, Bundle]]

INTERPRETED = triton.knobs.runtime.interpret
DEVICE = "cpu" if INTERPRETED else "cuda"
REPOSITORY = Path(__file__).parents[3]

# model type, head, options of the build
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "xlmr-classify": ("xlm-roberta", "classify", {}),
    "bert-tag": ("bert", "tag", {}),
    "camembert-span": ("camembert", "span", {}),
    "roberta-mean": ("roberta", "embed", {}),
    "bert-cls": ("bert", "embed", {"pooling": "cls", "layer": 1}),
    "xlmr-layer0": ("xlm-roberta", "embed", {"layer": 0}),
}


def encodings(lengths: list[int], seed: int = 0, types: int = 2) -> list[Encoding]:
    generator = np.random.default_rng(seed)
    return [
        Encoding(
            generator.integers(4, 1200, n).astype(np.int32),
            (np.arange(n) >= n // 2).astype(np.int32) * (types - 1),
        )
        for n in lengths
    ]


def ragged(checkpoint: Checkpoint, lengths: list[int]) -> PackedBatch:
    items = encodings(lengths, types=checkpoint.config.types)
    return pack(items, first_position=checkpoint.config.first_position)


def open_here(bundle: Bundle, **options: Any) -> CudaEngine:
    engine = open_engine(bundle, device=DEVICE, **options)
    assert isinstance(engine, CudaEngine)
    return engine


def answer(engine: Engine, batch: PackedBatch) -> np.ndarray:
    """The answer, the same however often it is asked for."""
    first = engine.run(batch)[engine.signature.output]
    for _ in range(0 if INTERPRETED else 2):
        np.testing.assert_array_equal(engine.run(batch)[engine.signature.output], first)
    return first
