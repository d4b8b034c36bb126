"""What the engine changes in OpenVINO's graph, against the same graph unchanged."""

from typing import Any

import numpy as np
import openvino
import pytest

from xopt.engines.openvino import open_core
from xopt.engines.openvino_graph import join_divisions

WIDTH = 48
# Typed as of another class than the one that it is made by.
Model: Any = openvino.Model


def norm_and_division(generator: np.random.Generator, *, sides: bool) -> Any:
    """LayerNorm, its division in three dimensions, and a residual that reads the norm too."""
    opset = openvino.opset13

    def constant(low: float) -> Any:
        return opset.constant(generator.uniform(low, 2, WIDTH).astype(np.float32))

    x = opset.parameter([-1, WIDTH], np.float32, name="x")
    mvn = opset.mvn(x, opset.constant(np.array([1])), True, 1e-12, "inside_sqrt")
    norm = opset.add(opset.multiply(mvn, constant(0.1)), constant(-2))
    taller = opset.unsqueeze(norm, opset.constant(np.array([0])))
    # A product with what depends on the text is no division.
    by = constant(0.1) if sides else opset.unsqueeze(x, opset.constant(np.array([0])))
    divided = opset.multiply(taller, by)
    results = [opset.result(divided), opset.result(opset.add(norm, x))]
    return Model(results, [x], "norm")


@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_a_joined_division_is_the_norm_divided(tokens: int) -> None:
    x = np.random.default_rng(1).normal(0, 3, (tokens, WIDTH)).astype(np.float32)
    made = []
    for join in (False, True):
        model = norm_and_division(np.random.default_rng(0), sides=True)
        if join:
            assert join_divisions(openvino, model) == 1
            [result, _] = model.get_results()
            before = [n.get_type_name() for n in model.get_ordered_ops()]
            assert before.count("MVN") == 1
            assert result.input_value(0).get_node().get_type_name() == "Add"
        compiled = open_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled([x])
        made.append([np.array(found[0]), np.array(found[1])])
    for plain, joined in zip(*made, strict=True):
        np.testing.assert_allclose(joined, plain, rtol=1e-5, atol=1e-5)


def test_a_product_of_two_values_stays() -> None:
    model = norm_and_division(np.random.default_rng(0), sides=False)
    assert join_divisions(openvino, model) == 0
