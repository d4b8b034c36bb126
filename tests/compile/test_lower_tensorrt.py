"""The form that TensorRT fuses: its answers, its overflow bound, and its shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file
from tests.rounding import (
    ATTENTION_TOO,
    EVERYWHERE,
    calibrated_batch,
    distance,
    rounding_error,
)

from xopt.artifacts import Graph, LoweredGraph, Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.calibrate.sites import read_sites
from xopt.compile.build import BuildOptions, choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import weight_step
from xopt.compile.recipes import lowering_for
from xopt.compile.tensorrt_inputs import INPUTS
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.errors import UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]
Lowered = tuple[Checkpoint, Graph, LoweredGraph, Ranges | None]
Lower = Callable[..., Lowered]


@pytest.fixture(scope="module")
def lower(make_checkpoint: Factory) -> Lower:
    """``lower("bert", "tag", "int8")``: one checkpoint of each kind, traced once."""
    folders: dict[tuple[str, str], Path] = {}

    def once(model_type: str, head: str, precision: str) -> Lowered:
        if (model_type, head) not in folders:
            folders[model_type, head] = make_checkpoint(model_type, head)
        return lowered(folders[model_type, head], precision)

    return once


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
    found = lower_graph(graph, lowering_for("tensorrt-rtx", precision), ranges)
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


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize(
    ("model_type", "head"),
    [("bert", "tag"), ("xlm-roberta", "classify"), ("roberta", "span"), ("xlm-roberta", "embed")],
)
def test_every_head_answers_as_pytorch_does(
    lower: Lower, model_type: str, head: str, precision: str
) -> None:
    checkpoint, _, small, _ = lower(model_type, head, precision)
    batch = calibrated_batch(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    close = answer(str(small.path), batch)
    assert close.dtype == np.float32
    assert close.shape == exact.shape
    int8 = precision == "int8"
    error = rounding_error(checkpoint, batch, precision, probabilities=int8)
    assert distance(close, exact) <= (ATTENTION_TOO if int8 else EVERYWHERE) * error


def test_evenly_attended_tokens_are_not_rounded_away(make_checkpoint: Factory) -> None:
    """Against plain fp32. An encoder of long sentences gets fp16 attention, which INT8 would lose.

    Queries are 0, so every token attends to all alike; what each says differs by sentence.
    """
    folder = make_checkpoint(
        "xlm-roberta", "embed", max_position_embeddings=402, num_hidden_layers=1
    )
    path, tokens = folder / "model.safetensors", 300
    weights = load_file(path)
    for name in weights:
        if ".query." in name:
            weights[name] = torch.zeros_like(weights[name])
        if ".value.weight" in name or ".attention.output.dense.weight" in name:
            weights[name] = 3 * weights[name]
    save_file(weights, path, {"format": "pt"})
    checkpoint, graph, forced, ranges = lowered(folder, "int8")
    options = BuildOptions(str(folder), target="tensorrt-rtx")
    chosen = lower_graph(graph, choose_lowering(options, checkpoint), ranges)
    ids = np.random.default_rng(5).choice(np.arange(4, 40), tokens).astype(np.int32)
    batch = pack(
        [Encoding(ids, np.zeros(tokens, np.int32))], first_position=checkpoint.config.first_position
    )
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    errors = [distance(answer(str(form.path), batch), exact) for form in (chosen, forced)]
    assert errors[0] <= ATTENTION_TOO * rounding_error(checkpoint, batch, "int8")
    assert errors[1] > 3 * errors[0]


def without_rounding(path: Path) -> onnx.ModelProto:
    """The graph with every pair of Q and DQ on an activation taken out."""
    model = onnx.load(path)
    source = {o: n for n in model.graph.node for o in n.output}
    constants = {t.name for t in model.graph.initializer}
    for node in model.graph.node:
        stored = node.input[0]
        if node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and stored not in constants
        ):
            assert node.op_type == "QuantizeLinear" or stored in source
            node.op_type = "Identity"
            del node.input[1:]
    return model


def test_smoothing_cancels_where_nothing_is_rounded(lower: Lower) -> None:
    """Divisors go into q, k and v's weights, and into the value's rows for the context."""
    checkpoint, _, small, ranges = lower("bert", "tag", "int8")
    assert ranges is not None
    divisors = [s.divisor for s in read_sites(ranges).values() if s.divisor is not None]
    assert len(divisors) == 2 * 4
    assert all(divisor.max() / divisor.min() > 1.5 for divisor in divisors)
    batch = ragged(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    close = answer(without_rounding(small.path), batch)
    # What is left is the weights' rounding to 8 bits, and that of all else to fp16.
    assert distance(close, exact) <= rounding_error(checkpoint, batch, "int8")


def constants(path: Path) -> dict[str, np.ndarray]:
    found = onnx.load(path).graph.initializer
    return {t.name: np.asarray(onnx.numpy_helper.to_array(t)) for t in found}


def test_no_accumulator_can_leave_fp16(lower: Lower) -> None:
    """The largest sum that any input can make, in the units that the product is written in."""
    _, _, small, _ = lower("xlm-roberta", "classify", "int8")
    values = constants(small.path)
    products = 0
    for node in onnx.load(small.path).graph.node:
        if node.op_type != "DequantizeLinear" or not node.input[0].endswith(".weight.int8"):
            continue
        name = node.input[0].removesuffix(".weight.int8")
        if name.startswith("embeddings"):
            continue
        products += 1
        assert values[node.input[1]].shape == ()
        sums = np.abs(values[node.input[0]].astype(np.int64)).sum(axis=0)
        layer, _, linear = name.rpartition(".")
        site = {"qkv": "qkv_in", "attention_output": "context", "ffn_out": "ffn_act"}
        step = values[f"{layer}.{site.get(linear, 'ffn_in')}.scale"].astype(np.float64)
        assert 127 * sums.max() * step * values[node.input[1]].astype(np.float64) < 65504
    assert products == 2 * 4


@pytest.mark.parametrize("inner", [768, 3072, 4096])
def test_the_weight_step_bounds_even_the_worst_rows(inner: int) -> None:
    rows, scales = quantize_rows(np.ones((5, inner), np.float32))
    step = np.float32(0.5)
    chosen = weight_step(rows, scales, step)
    assert 0 < 127 * 127 * inner * float(step) * float(chosen) < 65504
    # Where nothing can overflow, the step is the largest scale itself.
    rows, scales = quantize_rows(np.eye(8, dtype=np.float32))
    assert weight_step(rows, scales, np.float32(0.01)) == np.float32(np.float16(1 / 127))


def test_the_graph_has_the_form_that_fuses(lower: Lower) -> None:
    _, _, small, _ = lower("xlm-roberta", "embed", "int8")
    model = onnx.load(small.path)
    onnx.checker.check_model(str(small.path), full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    kinds = [node.op_type for node in model.graph.node]
    assert "Gather" not in kinds
    # Two for every layer's four linear layers and attention, none for the head.
    assert kinds.count("MatMul") == 2 * (4 + 2)
    for value in model.graph.input:
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert (value.type.tensor_type.elem_type, dims) == INPUTS[value.name]
    gathers = [n for n in model.graph.node if n.op_type == "GatherND"]
    given = {value.name for value in model.graph.input}
    indices = [n.input[1] for n in gathers]
    assert {name for name in indices if name in given} == {"pad_index", "unpad_index"}
    assert {name for name in indices if name not in given} == {
        "input_ids.index", "position_ids.index",
    }  # fmt: skip
    table = next(n for n in model.graph.node if n.input[0] == "embeddings.word.weight.int8")
    assert table.op_type == "DequantizeLinear"


def test_one_scale_serves_each_of_query_key_and_value(lower: Lower) -> None:
    _, _, small, ranges = lower("bert", "tag", "int8")
    assert ranges is not None
    sites = read_sites(ranges)
    values = constants(small.path)
    head_dim = 32
    expected = {
        "q": sites["layers.1.q"].amax * head_dim**-0.5,
        "k": sites["layers.1.k"].amax,
        "v": sites["layers.1.v"].smoothed,
    }
    for part, reach in expected.items():
        assert reach is not None
        scale = values[f"layers.1.{part}.scale"]
        assert float(scale) == pytest.approx(reach / 127, rel=1e-3)
    assert float(values["layers.1.probs.scale"]) == pytest.approx(1 / 127, rel=1e-3)


def test_the_means_of_keys_and_values_cost_nothing(make_checkpoint: Factory) -> None:
    """Large biases that cancel in fp32 leave the INT8 answer as it is, too."""
    import safetensors.torch as files

    folder = make_checkpoint("bert", "tag", seed=11)
    checkpoint, _, small, _ = lowered(folder, "int8", alpha=0.0)
    batch = ragged(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    before = answer(str(small.path), batch)

    tensors = files.load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for number in range(2):
        layer = f"bert.encoder.layer.{number}.attention"
        key, value = 20 * torch.randn(2, 64, generator=generator)
        tensors[f"{layer}.self.key.bias"] += key
        tensors[f"{layer}.self.value.bias"] += value
        tensors[f"{layer}.output.dense.bias"] -= tensors[f"{layer}.output.dense.weight"] @ value
    files.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint, _, moved, _ = lowered(folder, "int8", alpha=0.0)
    assert np.abs(PackedEncoder.load(checkpoint).run(batch).numpy() - exact).max() < 1e-4
    after = answer(str(moved.path), batch)
    # fp16 and fp32 round a little differently around another mean.
    assert np.abs(after - before).max() < np.abs(before - exact).max() / 2


def test_a_row_of_zeros_costs_the_others_nothing(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=9)
    import safetensors.torch as files

    tensors = files.load_file(folder / "model.safetensors")
    name = "roberta.encoder.layer.0.intermediate.dense.weight"
    tensors[name][3] = 0
    files.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint, _, small, _ = lowered(folder, "int8")
    values = constants(small.path)
    assert values["layers.0.ffn_in.weight.ratio"][3] == 0
    assert values["layers.0.ffn_in.weight.ratio"].max() <= 1.01
    batch = calibrated_batch(checkpoint)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    close = answer(str(small.path), batch)
    assert distance(close, exact) <= ATTENTION_TOO * rounding_error(checkpoint, batch, "int8")


def test_an_embedding_row_of_zeros_costs_the_others_nothing(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=10)
    import safetensors.torch as files

    tensors = files.load_file(folder / "model.safetensors")
    table = tensors["roberta.embeddings.word_embeddings.weight"]
    table[7] = 0
    files.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _, _, small, _ = lowered(folder, "int8")
    values = constants(small.path)
    name = "embeddings.word.weight"
    step = float(values[name + ".scale"])
    assert step == pytest.approx(float(table.abs().max()) / 127, rel=1e-3)
    ratio = values[name + ".ratio"]
    assert ratio[7] == 0
    restored = values[name + ".int8"] * step * ratio.astype(np.float64)
    # Half a step of each row, and what fp16 makes of its ratio.
    bound = np.abs(table.numpy()).max(axis=1, keepdims=True) * (0.5 / 127 + 2**-10)
    assert (np.abs(restored - table.numpy()) <= bound).all()


def test_a_weight_beyond_fp16_is_refused(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=11)
    import safetensors.torch as files

    tensors: dict[str, Any] = files.load_file(folder / "model.safetensors")
    tensors["roberta.embeddings.position_embeddings.weight"][70, 5] = 1e5
    files.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedError, match="beyond the range of fp16"):
        lowered(folder, "fp16")
