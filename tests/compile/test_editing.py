"""Nodes in the place of others, beside onnx's own reference implementation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from xopt.compile.editing import GraphEditor
from xopt.compile.external import WeightsWriter, load_model, save_model

X = np.linspace(-2, 2, 600, dtype=np.float32).reshape(2, 300)
SCALE = np.linspace(1, 2, 300, dtype=np.float32)


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[GraphEditor]:
    """Over ``y = relu(abs(x) * scale) + abs(x)``."""
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["c", "a"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["T", 300]) for n in "xy"]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(SCALE, "scale")]
    )
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "in.onnx")
    with WeightsWriter(tmp_path) as writer:
        yield GraphEditor(load_model(tmp_path / "in.onnx"), writer)


def finished(editor: GraphEditor, folder: Path) -> tuple[onnx.GraphProto, np.ndarray]:
    """The graph that was written, and its answer."""
    editor.finish()
    editor.writer.close()
    save_model(editor.model, folder / "out.onnx")
    evaluator: Any = ReferenceEvaluator(str(folder / "out.onnx"))
    [answer] = evaluator.run(None, {"x": X})
    return onnx.load(folder / "out.onnx").graph, answer


def test_a_graph_that_nobody_changes_stays(editor: GraphEditor, tmp_path: Path) -> None:
    assert [node.op_type for node in editor.walk(editor.source)] == ["Abs", "Mul", "Relu", "Add"]
    graph, answer = finished(editor, tmp_path)
    np.testing.assert_array_equal(answer, np.maximum(abs(X) * SCALE, 0) + abs(X))
    [weight] = graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), SCALE)


def test_what_only_replaced_nodes_have_read_goes_with_them(
    editor: GraphEditor, tmp_path: Path
) -> None:
    seen = []
    for node in editor.walk(editor.source):
        seen.append(node.op_type)
        if node.op_type == "Mul":
            # The value behind the next node: that is never reached, nor is the weight written.
            two = editor.constant("two", np.full(300, 2, np.float32))
            assert editor.constant("two", np.full(300, 2, np.float32)) is two
            editor.constant("unused", np.zeros(300, np.float32))
            half = editor.emit("Neg", [node.inputs[0]], "half")
            editor.emit("Mul", [half, two], editor.source[2].outputs[0])
    assert seen == ["Abs", "Mul", "Add"]
    graph, answer = finished(editor, tmp_path)
    np.testing.assert_array_equal(answer, -2 * abs(X) + abs(X))
    assert [node.op_type for node in graph.node] == ["Abs", "Neg", "Mul", "Add"]
    assert [tensor.name for tensor in graph.initializer] == ["two"]


def test_an_output_keeps_its_name_and_shape(editor: GraphEditor, tmp_path: Path) -> None:
    for _ in editor.walk(editor.source[:1]):
        pass
    other = editor.input("other")
    assert editor.input("other") is other
    editor.emit("Neg", [editor.source[0].outputs[0]], editor.graph.outputs[0])
    graph, answer = finished(editor, tmp_path)
    np.testing.assert_array_equal(answer, -abs(X))
    [output] = graph.output
    assert output.name == "y"
    assert [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim] == ["T", 300]
    assert [value.name for value in graph.input] == ["x"]


def test_rows_of_a_constant_are_what_is_written(editor: GraphEditor, tmp_path: Path) -> None:
    rows = np.arange(299, -1, -1, dtype=np.int32)
    editor.take_rows(editor.weights["scale"], rows)
    graph, answer = finished(editor, tmp_path)
    np.testing.assert_array_equal(answer, np.maximum(abs(X) * SCALE[::-1], 0) + abs(X))
    assert list(graph.initializer[0].dims) == [300]


def test_a_bias_that_was_replaced_is_not_written(editor: GraphEditor, tmp_path: Path) -> None:
    norm = ir.node("LayerNormalization", [editor.source[0].outputs[0], editor.weights["scale"]])
    editor.graph.insert_before(editor.source[1], norm)
    editor.source[1].replace_input_with(0, norm.outputs[0])
    for name, value in (("first", 1), ("second", 3)):
        editor.set_bias(norm, name, np.full(300, value, np.float32))
    graph, _ = finished(editor, tmp_path)
    assert [tensor.name for tensor in graph.initializer] == ["second", "scale"]
    assert [list(n.input) for n in graph.node if n.name == norm.name] == [["a", "scale", "second"]]
