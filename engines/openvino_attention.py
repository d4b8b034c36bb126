"""Our own operations in the place of OpenVINO's attention and mean over padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xopt.engines.openvino_match import (
    Places,
    as_input,
    constant,
    is_input,
    reader,
    redirect,
    source,
)

__all__ = ["packed_attention", "packed_mean"]

HEADS_AND_ROWS = [0, 2, 1, 3]
# Of [B, S, 3, heads, head_dim], so that the three come first.
PARTS_FIRST = [2, 0, 3, 1, 4]
LANES = 16


@dataclass(frozen=True)
class Found:
    """One attention.

    Attributes:
        inputs: the outputs with q, k, v ``[T, heads·d]``, or one with all three ``[T, 3·heads·d]``.
        heads: of q, k and v alike.
        scale: what scores are multiplied by.
        context: the gather behind it.
    """

    inputs: list[Any]
    heads: int
    scale: float
    context: Any


def packed_attention(openvino: Any, model: Any, factory: Any, *, whole: bool) -> bool:
    """Put ``PackedAttention`` in the place of every gather → attention → gather.

    Only where each attention of the model is the plain one: softmax of a product and
    ``attention_bias``, its projections gathered by ``pad_index``, apart or as one, its context
    gathered back by ``unpad_index``. Anything else (windows, rotated positions, fewer key heads)
    leaves the model as it was.

    Args:
        openvino: the package.
        model: ``openvino.Model``, changed in place.
        factory: makes our operations.
        whole: whether the two products of a long sentence are sums of whole numbers of 16 bits,
            in half of the time; for models whose inputs are rounded to 8 bits anyway.

    Returns:
        Whether the model was changed; inputs that nothing reads any more are gone then.
    """
    found = [_attention(n) for n in model.get_ordered_ops() if n.get_type_name() == "Softmax"]
    if not found or None in found:
        return False
    places = Places(openvino, model)
    starts = places.output()
    for one in found:
        assert one is not None
        facts = {"heads": one.heads, "scale": one.scale, "whole": whole}
        node = factory.create("PackedAttention", [*one.inputs, starts], facts)
        redirect(one.context, node.output(0))
    places.drop_unread()
    return True


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


def _attention(softmax: Any) -> Found | None:
    add = source(softmax, 0, "Add")
    scores = source(add, 0, "MatMul")
    product = reader(softmax, "MatMul")
    if not scores or not product or not is_input(add, 1, "attention_bias"):
        return None
    if source(product, 0, "Softmax") is None or any(
        node.get_attributes()["transpose_a"] for node in (scores, product)
    ):
        return None
    if product.get_attributes()["transpose_b"]:
        return None
    keys = source(scores, 1)
    if not scores.get_attributes()["transpose_b"]:
        if keys.get_type_name() != "Transpose" or constant(keys, 1) != [0, 1, 3, 2]:
            return None
        keys = source(keys, 0)
    turned = reader(product, "Transpose")
    flat = turned and reader(turned, "Reshape")
    context = flat and reader(flat, "Gather")
    if not context or constant(turned, 1) != HEADS_AND_ROWS:
        return None
    if not is_input(context, 1, "unpad_index"):
        return None
    sides = source(scores, 0), keys, source(product, 1)
    read = _joint(*sides) or _apart(*sides)
    if read is None:
        return None
    inputs, heads, width, scale = read
    if heads < 1 or width < LANES or width % LANES:
        return None
    return Found(inputs, heads, scale, context)


def _apart(*sides: Any) -> tuple[list[Any], int, int, float] | None:
    """Outputs, heads, width of a head and scale of three projections."""
    found = [_projection(side) for side in sides]
    shapes = {tuple(side[1]) for side in found if side}
    if None in found or len(shapes) != 1:
        return None
    [(_, _, heads, width)] = shapes
    return [side[0] for side in found if side], heads, width, 1.0


def _projection(node: Any) -> tuple[Any, list[int]] | None:
    """What is gathered by ``pad_index`` and laid out by head, and the shape of that."""
    if node.get_type_name() != "Transpose" or constant(node, 1) != HEADS_AND_ROWS:
        return None
    heads = source(node, 0, "Reshape")
    gather = source(heads, 0, "Gather")
    shape = heads and constant(heads, 1)
    if not gather or not shape or len(shape) != 4 or not is_input(gather, 1, "pad_index"):
        return None
    # The Clip that bounds nothing keeps dequantization in front of the gather; it has no use here.
    output = gather.input_value(0)
    for kind in ("Minimum", "Maximum"):
        clip = output.get_node()
        if clip.get_type_name() == kind:
            first = clip.input_value(0).get_node().get_type_name() == "Constant"
            output = clip.input_value(1 if first else 0)
    return output, shape


def _joint(query: Any, key: Any, value: Any) -> tuple[list[Any], int, int, float] | None:
    """As :func:`_apart`, of one projection that is gathered once and split."""
    scaled = query if query.get_type_name() == "Multiply" else None
    factor = source(scaled, 1, "Constant")
    if factor is None or np.size(factor.get_data()) != 1:
        return None
    sides = source(scaled, 0), key, value
    if any(side.get_type_name() != "Squeeze" for side in sides):
        return None
    split = source(sides[0], 0, "Split")
    for number, side in enumerate(sides):
        given = side.input_value(0)
        if given.get_node() != split or given.get_index() != number:
            return None
    turned = source(split, 0, "Transpose")
    gather = source(source(turned, 0, "Reshape"), 0, "Gather")
    shape = turned and turned.get_output_partial_shape(0)
    if not gather or constant(split, 1) != [0] or constant(turned, 1) != PARTS_FIRST:
        return None
    if not is_input(gather, 1, "pad_index") or any(shape[n].is_dynamic for n in (0, 2, 4)):
        return None
    parts, heads, width = (shape[n].get_length() for n in (0, 2, 4))
    if parts != 3:
        return None
    return [gather.input_value(0)], heads, width, float(np.ravel(factor.get_data())[0])


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
