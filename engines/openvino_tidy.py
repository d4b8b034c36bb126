"""What a graph from ONNX says at length, said shortly, so that OpenVINO compiles it sooner.

ONNX knows no scale with the shape of a column and no product with a transposed weight, so
OpenVINO's reader writes nine nodes around every weight. Its compiler walks all nodes of a graph
about a hundred times and comes to the same kernels. No number changes here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xopt.engines.openvino_match import constant, origin, redirect, source

__all__ = ["name_nodes", "tidy"]


def tidy(openvino: Any, model: Any) -> int:
    """Weights have their scale beside them, and products read them as they lie.

    Args:
        openvino: the package.
        model: ``openvino.Model`` as OpenVINO's ONNX reader makes it; changed in place.

    Returns:
        How many nodes are gone.
    """
    opset = openvino.opset13
    before = len(model.get_ops())
    for rewrite in (_without_zero, _shaped, _as_it_lies, _axes):
        for node in model.get_ordered_ops():
            made = rewrite(opset, node)
            if made is None:
                continue
            redirect(node, made.output(0))
    model.validate_nodes_and_infer_types()
    return before - len(model.get_ops())


def name_nodes(openvino: Any, model: Any) -> None:
    """Name every node without a name of its own by its place in the graph.

    OpenVINO calls it by a counter of the process, and writes that into the file: its bytes would
    depend on what the process made before.

    Args:
        openvino: the package.
        model: ``openvino.Model``, changed in place.
    """
    for number, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}_{number}")


def _without_zero(opset: Any, node: Any) -> Any:
    """Integers minus zero points that are all 0 → the integers."""
    if node.get_type_name() != "Subtract":
        return None
    values, zero = source(node, 0, "Convert"), source(node, 1)
    if zero.get_type_name() == "Reshape":
        zero = source(zero, 0)
    zero = origin(zero)
    if source(values, 0, "Constant") is None or zero.get_type_name() != "Constant":
        return None
    same = values.get_output_partial_shape(0) == node.get_output_partial_shape(0)
    return values if same and not np.any(zero.get_data()) else None


def _shaped(opset: Any, node: Any) -> Any:
    """A float constant that is given another shape → the constant in that shape."""
    held = source(node, 0, "Constant") if node.get_type_name() == "Reshape" else None
    if held is None or source(node, 1, "Constant") is None:
        return None
    if held.get_element_type().to_string() != "f32":
        return None
    made = opset.constant(held.get_data().reshape(node.get_output_partial_shape(0).to_shape()))
    # Whose layer this is, a profile reads off the names of constants.
    made.set_friendly_name(held.get_friendly_name())
    return made


def _as_it_lies(opset: Any, node: Any) -> Any:
    """A product with a weight that is transposed on the way → one that transposes it itself."""
    if node.get_type_name() != "MatMul":
        return None
    turned = source(node, 1, "Transpose")
    if turned is None or constant(turned, 1) != [1, 0]:
        return None
    flags = node.get_attributes()
    given, weight = node.input_value(0), turned.input_value(0)
    made = opset.matmul(given, weight, flags["transpose_a"], not flags["transpose_b"])
    made.set_friendly_name(node.get_friendly_name())
    return made


def _axes(opset: Any, node: Any) -> Any:
    """The axes of a norm, counted out from constants → the axes."""
    if node.get_type_name() != "Range" or not node.get_output_partial_shape(0).is_static:
        return None
    if node.get_output_element_type(0).to_string() not in ("i32", "i64"):
        return None
    parts = [part for number in range(3) for part in constant(node, number) or ()]
    return opset.constant(np.array(range(*parts), np.int64)) if len(parts) == 3 else None
