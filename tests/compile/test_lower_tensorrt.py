"""The form that TensorRT fuses: its answers, its overflow bound, and its shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.compile.lowered_tensorrt import Lowered, answer, constants, lowered, ragged
from tests.rounding import (
    ATTENTION_TOO,
    EVERYWHERE,
    calibrated_batch,
    distance,
    rounding_error,
)

from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import read_sites
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import weight_step
from xopt.compile.tensorrt_inputs import INPUTS

Factory = Callable[..., Path]
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
    assert {n.input[1] for n in gathers} == {
        "pad_index.int64", "unpad_index.int64", "input_ids.index", "position_ids.index",
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
