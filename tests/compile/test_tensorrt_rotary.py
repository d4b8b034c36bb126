"""TensorRT's form of encoders with rotary positions, by onnx's own reference implementation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from tests.encoders.families import add_tokenizer, save, tokens
from tests.rounding import EVERYWHERE, distance, rounding_error

from xopt.artifacts import LoweredGraph
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.build import choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.options import BuildOptions
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.packing import PackedBatch, pack
from xopt.tokenization import Tokenizer

COMMON: dict[str, Any] = {
    "hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 96,
    "max_position_embeddings": 128, "vocab_size": 1200,
}  # fmt: skip
CASES = {
    "Gte": (COMMON, "tag"),
    "ModernBert": (COMMON | {"local_attention": 14}, "embed"),
    "JinaEmbeddingsV3": (COMMON, "embed"),
    "XLMRoberta": (COMMON, "embed"),
    "RoFormer": (COMMON, "embed"),
}


def lowered(
    folder: Path, prefix: str, precision: str, tokenizer: Path
) -> tuple[Checkpoint, LoweredGraph]:
    numbers, head = CASES[prefix]
    save(folder, prefix, head, **numbers)
    add_tokenizer(folder, tokenizer)
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    options = BuildOptions(checkpoint=str(folder), target="tensorrt-rtx", precision=precision)
    ranges = None
    if precision == "int8":
        ranges = calibrate(
            PackedEncoder.load(checkpoint),
            graph.fingerprint,
            draw_sample(
                load_corpus(), Tokenizer.open(folder / "tokenizer.json", 120), max_tokens=1500
            ),
            CalibrationRecipe("minmax", alpha=0.8),
            first_position=checkpoint.config.first_position,
        )
    # Attention is in fp16 for all of them, so that they can be compared.
    lowering = replace(choose_lowering(options, checkpoint), attention=False)
    return checkpoint, lower_graph(graph, lowering, ranges, checkpoint=checkpoint)


def batch_of(checkpoint: Checkpoint) -> PackedBatch:
    return pack(tokens((3, 40, 17)), first_position=checkpoint.config.first_position)


def answers(
    checkpoint: Checkpoint, small: LoweredGraph
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of PyTorch, and of the lowered graph."""
    batch = batch_of(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    evaluator = ReferenceEvaluator(str(small.path))
    arrays = tensorrt_arrays(batch, checkpoint.config.window)
    [close] = evaluator.run(None, {name: arrays[name] for name in evaluator.input_names})
    assert close.shape == exact.shape
    return exact, close


@pytest.mark.parametrize("prefix", ["Gte", "ModernBert", "RoFormer"])
def test_the_graph_answers_as_pytorch_does(
    prefix: str, tmp_path: Path, tokenizer_file: Path
) -> None:
    checkpoint, small = lowered(tmp_path, prefix, "fp16", tokenizer_file)
    exact, close = answers(checkpoint, small)
    batch = batch_of(checkpoint)
    assert distance(close, exact) <= EVERYWHERE * rounding_error(checkpoint, batch, "fp16")
    nodes = onnx.load(small.path, load_external_data=False).graph.node
    products = [n for n in nodes if n.op_type == "MatMul" and n.name.endswith(".matmul")]
    # Four linear layers and the two products of attention.
    assert len(products) == 6 * 3
    assert not any(n.op_type == "Gather" for n in nodes)


def test_int8_costs_what_it_costs_xlm_roberta(tmp_path: Path, tokenizer_file: Path) -> None:
    errors = []
    for prefix in ("XLMRoberta", "JinaEmbeddingsV3"):
        (tmp_path / prefix).mkdir()
        made = lowered(tmp_path / prefix, prefix, "int8", tokenizer_file)
        exact, close = answers(*made)
        errors.append(np.linalg.norm(exact - close) / np.linalg.norm(exact))
    assert errors[1] <= 1.5 * errors[0]
