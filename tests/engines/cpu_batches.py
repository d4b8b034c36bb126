"""Batches for the CPU engine, and its answers to them."""

import numpy as np

from xopt.engines.openvino import OpenVinoEngine
from xopt.packing import Encoding, pack


def sentences(lengths: list[int], seed: int) -> list[Encoding]:
    generator = np.random.default_rng(seed)
    return [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]


def answer(engine: OpenVinoEngine, items: list[Encoding]) -> np.ndarray:
    return np.asarray(engine.run(pack(items, first_position=2))[engine.signature.output])
