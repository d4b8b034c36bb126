"""What the engine changes in OpenVINO's graph before it is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["drop_gathers", "packed_attention", "same_blocks"]

HEADS_AND_ROWS = [0, 2, 1, 3]
# Inputs that lead into the padded form of attention, and out of it.
PADS = ("pad_index", "window_queries", "window_keys")
UNPADS = ("unpad_index", "window_slots")


def packed_attention(openvino: Any, model: Any, factory: Any) -> bool:
    """Put ``PackedAttention`` in the place of every gather → attention → gather.

    Only where each attention of the model is the plain one: softmax of a product and
    ``attention_bias``, its three projections gathered by ``pad_index``, its context gathered back
    by ``unpad_index``. Anything else (windows, rotated positions, fewer key heads) leaves the model
    as it was.

    Returns:
        Whether the model was changed; inputs that nothing reads any more are gone then.
    """
    found = [_attention(n) for n in model.get_ordered_ops() if n.get_type_name() == "Softmax"]
    parameters = {p.get_friendly_name(): p for p in model.get_parameters()}
    if not found or None in found:
        return False
    if "cu_seqlens" not in parameters:
        starts = openvino.opset13.parameter([-1], np.int32, name="cu_seqlens")
        starts.output(0).get_tensor().set_names({"cu_seqlens"})
        model.add_parameters([starts])
        parameters["cu_seqlens"] = starts
    for one in found:
        inputs, heads, context = one  # type: ignore[misc]
        node = factory.create(
            "PackedAttention", [*inputs, parameters["cu_seqlens"].output(0)], {"heads": heads}
        )
        for reader in list(context.output(0).get_target_inputs()):
            reader.replace_source_output(node.output(0))
    for parameter in parameters.values():
        if not _reached(parameter, model):
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return True


def _attention(softmax: Any) -> tuple[list[Any], int, Any] | None:
    """The outputs with q, k, v ``[T, heads·d]``, the heads, and the gather behind the context."""
    add = _source(softmax, 0, "Add")
    scores = add and _source(add, 0, "MatMul")
    product = _reader(softmax, "MatMul")
    if not scores or not product or not _is_input(add, 1, "attention_bias"):
        return None
    if _source(product, 0, "Softmax") is None or any(
        node.get_attributes()["transpose_a"] for node in (scores, product)
    ):
        return None
    if product.get_attributes()["transpose_b"]:
        return None
    keys = _source(scores, 1, "Transpose")
    if keys is None:
        return None
    if not scores.get_attributes()["transpose_b"]:
        if _constant(keys, 1) != [0, 1, 3, 2]:
            return None
        keys = _source(keys, 0, "Transpose")
    sides = [_projection(node) for node in (_source(scores, 0), keys, _source(product, 1))]
    turned = _reader(product, "Transpose")
    flat = turned and _reader(turned, "Reshape")
    context = flat and _reader(flat, "Gather")
    if not context or _constant(turned, 1) != HEADS_AND_ROWS:
        return None
    if not _is_input(context, 1, "unpad_index") or any(side is None for side in sides):
        return None
    shapes = {tuple(side[1]) for side in sides if side}
    if len(shapes) != 1:
        return None
    [(_, _, heads, width)] = shapes
    if heads < 1 or width < 16 or width % 16:
        return None
    return [side[0] for side in sides if side], int(heads), context


def _projection(node: Any) -> tuple[Any, list[int]] | None:
    """What is gathered by ``pad_index`` and laid out by head, and the shape of that."""
    if node is None or node.get_type_name() != "Transpose" or _constant(node, 1) != HEADS_AND_ROWS:
        return None
    heads = _source(node, 0, "Reshape")
    gather = heads and _source(heads, 0, "Gather")
    shape = heads and _constant(heads, 1)
    if not gather or not shape or len(shape) != 4 or not _is_input(gather, 1, "pad_index"):
        return None
    # The Clip that bounds nothing keeps dequantization in front of the gather; it has no use here.
    output = gather.input_value(0)
    for kind in ("Minimum", "Maximum"):
        clip = output.get_node()
        if clip.get_type_name() == kind:
            first = clip.input_value(0).get_node().get_type_name() == "Constant"
            output = clip.input_value(1 if first else 0)
    return output, shape


def _source(node: Any, number: int, kind: str | None = None) -> Any:
    """The node that gives an input, if it is of this kind."""
    found = node.input_value(number).get_node()
    return found if kind is None or found.get_type_name() == kind else None


def _reader(node: Any, kind: str) -> Any:
    """The only node that reads this one, if it is of this kind."""
    readers = [r.get_node() for r in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 and readers[0].get_type_name() == kind else None


def _constant(node: Any, number: int) -> list[int] | None:
    found = _source(node, number, "Constant")
    return None if found is None else [int(value) for value in np.ravel(found.get_data())]


def _is_input(node: Any, number: int, name: str) -> bool:
    found = _through_converts(node.input_value(number).get_node())
    return bool(found.get_type_name() == "Parameter" and found.get_friendly_name() == name)


def _through_converts(node: Any) -> Any:
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node


def _reached(parameter: Any, model: Any) -> bool:
    """Whether a parameter still leads to an answer."""
    alive = {node.get_friendly_name() for node in model.get_ordered_ops()}
    return any(
        r.get_node().get_friendly_name() in alive for r in parameter.output(0).get_target_inputs()
    )


def same_blocks(arrays: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether the layers that see a window have the blocks of those that see everything."""
    shapes = {arrays[name].shape for name in PADS if name in arrays}
    return len(shapes) == 1


def drop_gathers(openvino: Any, model: Any) -> None:
    """Turn the packed program into the dense one: gathers by pad and unpad index become reshapes.

    What was a pad index stays an input for its shape ``[B, S]`` alone.
    """
    opset = openvino.opset13
    parameters = {p.get_friendly_name(): p for p in model.get_parameters()}
    tail = opset.constant(np.array([-1], np.int64))
    padded = {
        name: opset.concat([opset.shape_of(parameters[name].output(0)), tail], 0)
        for name in PADS
        if name in parameters
    }
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        name = _through_converts(node.input_value(1).get_node()).get_friendly_name()
        if name in padded:
            shape = padded[name].output(0)
            result = opset.reshape(node.input_value(0), shape, False).output(0)
        elif name in UNPADS:
            result = node.input_value(0)
        else:
            continue
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(result)
    for name in UNPADS:
        if name in parameters:
            model.remove_parameter(parameters[name])
    model.validate_nodes_and_infer_types()
