"""A graph from ONNX said shortly: the same bits, and numpy's sums."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from xopt.engines.openvino import open_core
from xopt.engines.openvino_tidy import name_nodes, tidy

IN, OUT = 32, 48


def product(zero: int, *, turned: bool = True) -> tuple[bytes, np.ndarray]:
    """``x · ((w - zero) · scale)^T`` with a norm behind it; the weight ``[in, out]`` in fp32."""
    generator = np.random.default_rng(3)
    shape = (OUT, IN) if turned else (IN, OUT)
    values = generator.integers(-100, 100, shape).astype(np.int8)
    axis = 0 if turned else 1
    scales = generator.uniform(0.01, 0.02, OUT).astype(np.float32)
    constants = {
        "values": values,
        "scales": scales,
        "zero": np.full(OUT, zero, np.int8),
        "weight": np.ones(OUT, np.float32),
        "bias": np.zeros(OUT, np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["values", "scales", "zero"], ["full"], axis=axis),
        helper.make_node("Transpose", ["full"], ["turned"], perm=[1, 0] if turned else [0, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
        helper.make_node("LayerNormalization", ["y", "weight", "bias"], ["out"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", IN])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["T", OUT])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    full = values.astype(np.float32) - np.float32(zero)
    full = (full * scales[:, None]).T if turned else full * scales
    return model.SerializeToString(), full


def answers(model: Any, x: np.ndarray) -> np.ndarray:
    # Where x has no codes of its own, OpenVINO would round it.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return np.array(open_core().compile_model(model, "CPU", hints)([x])[0])


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("zero", [0, 5])
def test_what_is_said_shortly_is_the_same(zero: int, turned: bool) -> None:
    given, weight = product(zero, turned=turned)
    x = np.random.default_rng(4).normal(size=(7, IN)).astype(np.float32)
    before = answers(open_core().read_model(given), x)
    model = open_core().read_model(given)
    assert tidy(openvino, model) > 0
    after = answers(model, x)

    np.testing.assert_array_equal(after, before)
    y = x.astype(np.float64) @ weight
    centred = y - y.mean(axis=1, keepdims=True)
    plain = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(after, plain, rtol=1e-4, atol=1e-4)


def test_nothing_but_the_weight_its_scale_and_the_product_is_left() -> None:
    model = open_core().read_model(product(0)[0])
    tidy(openvino, model)
    kinds = Counter(node.get_type_name() for node in model.get_ops())
    gone = {"Subtract", "Reshape", "Transpose", "Range"}
    assert gone.isdisjoint(kinds)
    assert kinds["MatMul"] == kinds["MVN"] == 1


def test_a_zero_point_that_is_not_0_stays() -> None:
    model = open_core().read_model(product(5)[0])
    tidy(openvino, model)
    assert "Subtract" in {node.get_type_name() for node in model.get_ops()}


def test_a_files_bytes_do_not_depend_on_what_the_process_made_before(tmp_path: Path) -> None:
    """A build that goes on from the cache makes fewer nodes before this file than a whole one."""
    written = []
    for name in ("first", "second"):
        model = open_core().read_model(product(0)[0])
        tidy(openvino, model)
        name_nodes(openvino, model)
        assert len({node.get_friendly_name() for node in model.get_ops()}) == len(model.get_ops())
        openvino.save_model(model, tmp_path / f"{name}.xml", compress_to_fp16=False)
        written.append([(tmp_path / f"{name}.{end}").read_bytes() for end in ("xml", "bin")])
    assert written[0] == written[1]
