"""What a build, and for the dense program the engine, change in OpenVINO's graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino_match import origin, redirect, source

__all__ = ["drop_gathers", "join_divisions", "same_blocks", "share_products"]

# How far, relatively, one channel's zero point is moved so that it stands in memory.
UNLIKE = 1e-5
# Inputs that lead into the padded form of attention, and out of it.
PADS = ("pad_index", "window_queries", "window_keys")
UNPADS = ("unpad_index", "window_slots")


def share_products(openvino: Any, model: Any) -> int:
    """Let the products behind which a GELU is quantized share their kernels between layers.

    OpenVINO writes the zero point of the codes behind a GELU into the product's kernel as a
    number, so that every layer has a kernel of its own, and 5 MiB of them are made for each new
    number of tokens. A zero point that is not the same in every channel is read from memory
    instead. So it is told by channel here, one of them off by :data:`UNLIKE` of it, which is less
    than a hundredth of a step of the codes.

    Returns:
        How many products were changed.
    """
    opset = openvino.opset13
    changed = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize" or not _behind_gelu(node):
            continue
        width = node.input_value(0).get_partial_shape()[-1]
        bounds = [source(node, number, "Constant") for number in (1, 2)]
        if width.is_dynamic or any(b is None or np.size(b.get_data()) != 1 for b in bounds):
            continue
        low, high = (np.ravel(b.get_data()).astype(np.float32)[0] for b in bounds)
        if low >= 0:
            continue
        shift = np.full(width.get_length(), -low, np.float32)
        shift[-1] *= np.float32(1 + UNLIKE)
        moved = opset.add(node.input_value(0), opset.constant(shift))
        node.input(0).replace_source_output(moved.output(0))
        for number, bound in ((1, np.float32(0)), (2, high - low)):
            node.input(number).replace_source_output(opset.constant(bound).output(0))
        changed += 1
    model.validate_nodes_and_infer_types()
    return changed


def join_divisions(openvino: Any, model: Any) -> int:
    """Let a norm's weight and bias hold the division before a quantization.

    MVN → weight → bias → ``[1, T, n]`` → division becomes MVN → ``[1, T, n]`` → weight → bias, both
    divided: one node for OpenVINO, with the quantization in it. The residual behind the norm has
    its weight and bias in a node of its own anyway.

    Returns:
        How many divisions were changed.
    """
    opset = openvino.opset13
    changed = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Multiply":
            continue
        taller = source(node, 0, "Unsqueeze")
        moved = source(taller, 0, "Add")
        scaled = source(moved, 0, "Multiply")
        norm = source(scaled, 0, "MVN")
        constants = [source(part, 1, "Constant") for part in (node, moved, scaled)]
        if norm is None or None in constants:
            continue
        inverse, bias, weight = (one.get_data().astype(np.float32) for one in constants)
        if not inverse.shape == bias.shape == weight.shape:
            continue
        value = opset.unsqueeze(norm.output(0), taller.input_value(1))
        both = opset.constant(weight * inverse)
        # Whose layer this is, a profile reads off the names of constants.
        both.set_friendly_name(constants[0].get_friendly_name())
        value = opset.multiply(value, both)
        value = opset.add(value, opset.constant(bias * inverse))
        value.set_friendly_name(node.get_friendly_name())
        redirect(node, value.output(0))
        changed += 1
    model.validate_nodes_and_infer_types()
    return changed


def _behind_gelu(node: Any) -> bool:
    before = source(node, 0)
    if before.get_type_name() == "Multiply":
        before = source(before, 0)
    return bool(before.get_type_name() == "Gelu")


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
        name = origin(node.input_value(1).get_node()).get_friendly_name()
        if name in padded:
            shape = padded[name].output(0)
            result = opset.reshape(node.input_value(0), shape, False).output(0)
        elif name in UNPADS:
            result = node.input_value(0)
        else:
            continue
        redirect(node, result)
    for name in UNPADS:
        if name in parameters:
            model.remove_parameter(parameters[name])
    model.validate_nodes_and_infer_types()
