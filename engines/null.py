"""An engine that computes nothing: seeded answers, so that everything around it can be tested."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine
from xopt.engines.building import Builder, BuilderOptions, Built, Context
from xopt.packing import PackedBatch
from xopt.progress import Progress

__all__ = ["NullBuilder", "NullEngine"]


class NullEngine(Engine):
    """A row depends on its own sentence's token ids alone, as with a real encoder."""

    name = "null"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.seed = int(json.loads((bundle.folder / "engine.json").read_text())["seed"])

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        rows = []
        for start, end in zip(part.cu_seqlens[:-1], part.cu_seqlens[1:], strict=True):
            ids = part.input_ids[start:end].astype(np.int64)
            generator = np.random.default_rng([self.seed, *ids.tolist()])
            count = len(ids) if self.signature.per_token else 1
            rows.append(generator.standard_normal((count, self.signature.width), np.float32))
        return np.concatenate(rows)


class NullBuilder(Builder[BuilderOptions, Context]):
    """Writes the seed."""

    target = "null"

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``engine.json``."""
        (out / "engine.json").write_text(json.dumps({"seed": 7}) + "\n")
        return Built(context.lower(), {"files": ["engine.json"]})
