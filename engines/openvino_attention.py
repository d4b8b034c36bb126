"""Our own operations in the place of OpenVINO's attention and mean over padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from xopt.engines.openvino_heads import LANES, Attention, read_attention
from xopt.engines.openvino_match import Places, as_input, constant, is_input, redirect, source

__all__ = ["distance_inputs", "packed_attention", "packed_mean"]

# What ``PackedAttention`` calls scores that depend on distances.
DISTANCES = 3


def packed_attention(
    openvino: Any, model: Any, factory: Any, *, whole: bool, window: int | None = None
) -> bool:
    """Put ``PackedAttention`` in the place of every gather → attention → gather.

    Only where each attention of the model is a softmax of a product and a bias, its projections
    gathered from the packed rows, rotated or not, its context gathered back. Anything else leaves
    the model as it was.

    Args:
        openvino: the package.
        model: ``openvino.Model``, changed in place.
        factory: makes our operations.
        whole: whether the two products of a long sentence are sums of whole numbers of 16 bits,
            in half of the time; for models whose inputs are rounded to 8 bits anyway.
        window: how far a token sees to each side in layers that have a window.

    Returns:
        Whether the model was changed; inputs that nothing reads any more are gone then.
    """
    softmax = [node for node in model.get_ordered_ops() if node.get_type_name() == "Softmax"]
    found = [read_attention(node) for node in softmax]
    if not found or None in found:
        return False
    places = Places(openvino, model)
    starts = places.output()
    for one in found:
        assert one is not None
        more, positions = list(one.rotation), int(bool(one.rotation)) + one.values
        if one.distances is not None:
            more, positions = distance_inputs(openvino.opset13, one), DISTANCES
        facts = {
            "heads": one.heads, "kv_heads": one.kv_heads, "scale": one.scale, "whole": whole,
            "window": window if one.windowed else -1, "positions": positions,
        }  # fmt: skip
        node = factory.create("PackedAttention", [*one.inputs, *more, starts], facts)
        redirect(one.context, node.output(0))
    places.drop_unread()
    return True


def distance_inputs(opset: Any, one: Attention) -> list[Any]:
    """As ``PackedAttention`` takes them: those of queries by head and in blocks of 16 rows."""
    found = one.distances
    assert found is not None
    queries = keys = np.zeros((0, 0), np.float32)
    if found.queries is not None:
        rows, width = found.queries.shape
        whole = np.pad(found.queries, ((0, -rows % LANES), (0, 0)))
        cut = whole.reshape(-1, LANES, one.heads, width // one.heads)
        queries = np.ascontiguousarray(cut.transpose(2, 0, 3, 1))
    if found.keys is not None:
        # The scale is that of the whole score here.
        keys = np.ascontiguousarray(found.keys / np.float32(one.scale))
    return [opset.constant(array).output(0) for array in (queries, keys, found.rows)]


def packed_mean(openvino: Any, model: Any, factory: Any) -> bool:
    """Put ``PackedMean`` in the place of every gather → sum over what is real → quotient.

    Returns:
        Whether the model was changed.
    """
    found = [_mean(node) for node in model.get_ordered_ops() if node.get_type_name() == "Divide"]
    means = [one for one in found if one is not None]
    if not means:
        return False
    places = Places(openvino, model)
    starts = places.output()
    for quotient, rows in means:
        node = factory.create("PackedMean", [rows, starts])
        node.set_friendly_name(quotient.get_friendly_name())
        node.output(0).get_tensor().set_names(quotient.output(0).get_names())
        redirect(quotient, node.output(0))
    places.drop_unread()
    return True


def _mean(quotient: Any) -> tuple[Any, Any] | None:
    """The quotient and the rows ``[T, width]`` whose mean over each sentence it is."""
    total = source(quotient, 0, "ReduceSum")
    weighted = source(total, 0, "Multiply")
    gather = source(weighted, 0, "Gather")
    real = weighted and _real(source(weighted, 1, "Unsqueeze"))
    if not gather or not real or not is_input(gather, 1, "pad_index"):
        return None
    # Of the real slots; it cannot be 0, so what it is kept above changes nothing.
    count = source(quotient, 1)
    for kind in ("Minimum", "Maximum"):
        if count.get_type_name() != kind:
            return None
        first = source(count, 0).get_type_name() == "Constant"
        count = source(count, 1 if first else 0)
    if count.get_type_name() != "ReduceSum" or source(count, 0) != real:
        return None
    if [constant(node, 1) for node in (total, count)] != [[1], [1]]:
        return None
    rows = gather.input_value(0)
    width = rows.get_partial_shape()[1]
    if width.is_dynamic or width.get_length() % LANES:
        return None
    return quotient, rows


def _real(column: Any) -> Any:
    """1 on the slots that hold a token, ``[B, S]``: ``attention_bias`` is not below 0 there."""
    cast = source(column, 0, "Convert")
    test = source(cast, 0, "GreaterEqual")
    if test is None or as_input(source(test, 0)) != "attention_bias" or constant(test, 1) != [0]:
        return None
    return cast
