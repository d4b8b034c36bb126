"""A checkpoint in the form that TensorRT fuses, and the answer of that form."""

from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from xopt.artifacts import Graph, LoweredGraph, Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

Lowered = tuple[Checkpoint, Graph, LoweredGraph, Ranges | None]


def lowered(folder: Path, precision: str, alpha: float = 0.8) -> Lowered:
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    ranges = None
    if precision == "int8":
        tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
        ranges = calibrate(
            PackedEncoder.load(checkpoint),
            graph.fingerprint,
            draw_sample(load_corpus(), tokenizer, max_tokens=3000),
            CalibrationRecipe("minmax", alpha=alpha),
            first_position=checkpoint.config.first_position,
        )
    found = lower_graph(
        graph, lowering_for("tensorrt-rtx", precision), ranges, checkpoint=checkpoint
    )
    return checkpoint, graph, found, ranges


def ragged(checkpoint: Checkpoint) -> PackedBatch:
    generator = np.random.default_rng(3)
    items = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in (3, 17, 8)
    ]
    return pack(items, first_position=checkpoint.config.first_position)


def answer(model: str | onnx.ModelProto, batch: PackedBatch) -> np.ndarray:
    """onnx's own reference implementation, independent of every engine."""
    evaluator = ReferenceEvaluator(model)
    arrays = tensorrt_arrays(batch)
    found: np.ndarray = evaluator.run(None, {n: arrays[n] for n in evaluator.input_names})[0]
    return found


def constants(path: Path) -> dict[str, np.ndarray]:
    found = onnx.load(path).graph.initializer
    return {t.name: np.asarray(onnx.numpy_helper.to_array(t)) for t in found}
