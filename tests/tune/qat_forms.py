"""Builds of each form of INT8, and a model with the quantizers of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from xopt.artifacts import LoweredGraph, Ranges
from xopt.compile.build import BuildOptions, choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.ranging import ranges_of, sample_of
from xopt.compile.trace import trace_checkpoint
from xopt.progress import Silent
from xopt.tune.qat import insert_quantizers
from xopt.tune.qat_sites import measure_sites

Factory = Callable[..., Path]
Codes = dict[str, np.ndarray]

LONG = {"max_position_embeddings": 402}
# Form -> options of the build, and of the checkpoint: TensorRT's attention is INT8 for short texts.
BUILDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cpu-vnni": ({"cpu": "vnni"}, {}),
    "cpu-any": ({"cpu": "any"}, {}),
    "cuda": ({"target": "cuda"}, {}),
    "cuda-attention": ({"target": "cuda", "precision": "int8-attention"}, {}),
    "tensorrt": ({"target": "tensorrt"}, LONG),
    "tensorrt-attention": ({"target": "tensorrt-rtx"}, {}),
}
PARTS = {
    "query": "q", "key": "k", "value": "v", "attention.output.dense": "attention_output",
    "intermediate.dense": "ffn_in", "output.dense": "ffn_out",
}  # fmt: skip
# Two sums of the same products in another order may put a value on the other side of a half step:
# one of 64 numbers within 127 steps is off by 64 · 127 · 2^-24 of a step at most, on either side,
# and the square of a step is 12 times the mean one of rounding.
FP32_SHARE = (12 * 2 * 64 * 127 * 2**-24) ** 0.5


@pytest.fixture(scope="module")
def folders(make_checkpoint: Factory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def tuned(form: str) -> Path:
        changes = BUILDS[form][1]
        key = json.dumps(changes)
        if key not in made:
            # Heads of 32 dimensions, as the CUDA kernels take them.
            sizes = {"hidden_size": 64, "num_attention_heads": 2, **changes}
            folder = make_checkpoint("xlm-roberta", "classify", labels=["a", "b"], seed=3, **sizes)
            told = {"phase": "qat", "tasks": ["panx"], "fingerprint": "0"}
            (folder / "training.json").write_text(json.dumps(told))
            made[key] = folder
        return made[key]

    return tuned


def options_of(form: str) -> BuildOptions:
    return BuildOptions(calibration_tokens=1000, **BUILDS[form][0])


def lowered(folder: Path, form: str) -> tuple[Checkpoint, LoweredGraph, Ranges]:
    """What a build makes before its engine."""
    options, checkpoint = options_of(form), Checkpoint.open(folder)
    graph, sample = trace_checkpoint(checkpoint), sample_of(checkpoint, options)
    ranges = ranges_of(checkpoint, graph, sample, options, Silent())
    lowering = choose_lowering(options, checkpoint)
    return checkpoint, lower_graph(graph, lowering, ranges, checkpoint=checkpoint), ranges


def load(folder: Path, form: str) -> Any:
    """A model with the quantizers of a form."""
    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(folder).eval()
    insert_quantizers(model, measure_sites(folder, options_of(form)))
    return model


def place(name: str) -> tuple[str, str]:
    """``layers.0`` and ``q`` of transformers' name of a linear layer."""
    _, _, rest = name.partition("encoder.layer.")
    number, _, rest = rest.partition(".")
    part = next(part for part in PARTS if rest.endswith(part))
    return f"layers.{number}", PARTS[part]
