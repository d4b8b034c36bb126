"""Reading one attention of OpenVINO's graph: its projections, heads, positions and window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.engines.openvino_match import constant, is_input, origin, reader, source

__all__ = ["LANES", "Attention", "Distances", "read_attention"]

HEADS_FIRST = [0, 2, 1, 3]
# The same, with the rows last.
ROWS_LAST = [0, 2, 3, 1]
# Rows and columns of a matrix for each head.
TURNED = [0, 1, 3, 2]
# Of [B, S, 3, heads, head_dim], so that the three come first.
PARTS_FIRST = [2, 0, 3, 1, 4]
LANES = 16
# The inputs by which queries, keys and the context are gathered, and what is added to the scores.
WHOLE = ("pad_index", "pad_index", "unpad_index", "attention_bias")
WINDOW = ("window_queries", "window_keys", "window_slots", "window_bias")


@dataclass(frozen=True)
class Attention:
    """One attention.

    Attributes:
        inputs: outputs with q, k and v, or one with all three side by side.
        heads: of the queries.
        kv_heads: of keys and values.
        scale: what scores are multiplied by.
        rotation: outputs of cosine and sine, where queries and keys are rotated.
        values: whether the values are rotated too.
        distances: what depends on them in the scores; None for nothing.
        windowed: whether a token sees a part of the sentence only.
        context: the gather behind it.
    """

    inputs: list[Any]
    heads: int
    kv_heads: int
    scale: float
    windowed: bool
    context: Any
    rotation: tuple[Any, ...] = ()
    values: bool = False
    distances: Distances | None = None


@dataclass(frozen=True)
class Distances:
    """Disentangled positions (He et al., 2021).

    Attributes:
        queries: ``[rows, heads·d]``, what queries are multiplied with; None for nothing.
        keys: the same of keys, with the scale of the scores.
        rows: ``[2 · max_tokens]``, of the distances key - query from ``1 - max_tokens`` on.
    """

    queries: NDArray[np.float32] | None
    keys: NDArray[np.float32] | None
    rows: NDArray[np.int32]


@dataclass(frozen=True)
class Side:
    """Queries, keys or values: an output, its heads, their width, and how they are rotated."""

    output: Any
    heads: int
    width: int
    scale: float = 1.0
    turn: tuple[Any, ...] = ()


def read_attention(softmax: Any) -> Attention | None:
    """The attention of a softmax; None where it is of another kind than the engine's own knows."""
    add = source(softmax, 0, "Add")
    scores = source(add, 0, "MatMul")
    product = reader(softmax, "MatMul")
    if not scores or not product or source(product, 0) != softmax:
        return None
    flags = [node.get_attributes() for node in (scores, product)]
    if any(one["transpose_a"] for one in flags) or flags[1]["transpose_b"]:
        return None
    rows_last = not flags[0]["transpose_b"]
    turned = reader(product, "Transpose")
    context = reader(turned and reader(turned, "Reshape"), "Gather")
    if not context or constant(turned, 1) != HEADS_FIRST:
        return None
    sides = source(scores, 0), source(scores, 1), source(product, 1)
    distances, bias = None, add
    if source(add, 1, "Add"):
        bias, distances = source(add, 1), _distances(source(source(add, 1), 0), *sides[:2])
        if distances is None:
            return None
    for names in (WHOLE, WINDOW):
        if is_input(bias, 1, names[3]) and is_input(context, 1, names[2]):
            break
    else:
        return None
    joint = _joint(*sides, rows_last=rows_last) if names == WHOLE else None
    if joint is not None:
        output, heads, width, scale = joint
        found = Attention([output], heads, heads, scale, False, context)
    else:
        read = _apart(*sides, names=names, rows_last=rows_last)
        if read is None:
            return None
        q, k, v = read
        width, scale = q.width, q.scale * k.scale
        found = Attention(
            [q.output, k.output, v.output], q.heads, k.heads, scale, names == WINDOW, context,
            q.turn, bool(v.turn), distances,
        )  # fmt: skip
    if distances is not None and (joint or found.rotation or found.windowed):
        return None
    return found if found.heads and width and not width % LANES else None


def _distances(total: Any, query: Any, key: Any) -> Distances | None:
    """One product or the sum of two, of queries or of keys with the rows of all distances."""
    parts = [source(total, n) for n in (0, 1)] if total.get_type_name() == "Add" else [total]
    tables: dict[str, NDArray[np.float32]] = {}
    found = None
    # Keys have their rows last where the scores are a product.
    sides = {"queries": query, "keys": source(key, 0)}
    for part in parts:
        product = source(source(source(part, 0, "Gather"), 0, "Reshape"), 0, "MatMul")
        turned = source(product, 1, "Transpose")
        gather = turned and origin(source(source(turned, 0, "Reshape"), 0))
        if not gather or gather.get_type_name() != "Gather" or constant(turned, 1) != [1, 2, 0]:
            return None
        table, rows = source(gather, 0), source(source(gather, 1, "Slice"), 0, "Constant")
        name = next((n for n, side in sides.items() if source(product, 0) == side), None)
        if origin(table).get_type_name() != "Constant" or rows is None or name in (None, *tables):
            return None
        tables[str(name)] = np.asarray(origin(table).get_data(), np.float32)
        found = np.asarray(rows.get_data(), np.int32)
    # Rows between the first and the last of a sentence are all that is computed.
    if found is None or (np.diff(found) > 0).any():
        return None
    return Distances(tables.get("queries"), tables.get("keys"), found)


def _apart(*sides: Any, names: tuple[str, ...], rows_last: bool) -> tuple[Side, Side, Side] | None:
    """Three projections, which fit together."""
    q = _side(sides[0], names[0], rows_last=False)
    k = _side(sides[1], names[1], rows_last=rows_last)
    v = _side(sides[2], names[1], rows_last=False)
    if q is None or k is None or v is None or v.scale != 1:
        return None
    if q.turn != k.turn or v.turn not in ((), k.turn) or len({q.width, k.width, v.width}) > 1:
        return None
    fit = k.heads == v.heads and k.heads and not q.heads % k.heads
    return (q, k, v) if fit else None


def _side(node: Any, index: str, *, rows_last: bool) -> Side | None:
    """What is gathered by ``index`` and laid out by head."""
    if rows_last:
        if node.get_type_name() != "Transpose":
            return None
        if constant(node, 1) == ROWS_LAST:
            return _gathered(source(node, 0, "Reshape"), index)
        if constant(node, 1) != TURNED:
            return None
        node = source(node, 0)
    if _is_repeated(node):
        node = source(source(source(node, 0), 0), 0)
    if node.get_type_name() != "Transpose" or constant(node, 1) != HEADS_FIRST:
        return None
    return _gathered(source(node, 0, "Reshape"), index)


def _is_repeated(node: Any) -> bool:
    """Whether each head of keys or values is repeated for the queries that it serves."""
    return source(source(source(node, 0, "Broadcast"), 0, "Unsqueeze"), 0) is not None


def _gathered(heads: Any, index: str) -> Side | None:
    """Of ``[B, S, heads, width]``: what its rows are gathered from."""
    gather = source(heads, 0, "Gather")
    shape = heads and heads.get_output_partial_shape(0)
    if not gather or not is_input(gather, 1, index) or len(shape) != 4:
        return None
    if shape[2].is_dynamic or shape[3].is_dynamic:
        return None
    count, width = shape[2].get_length(), shape[3].get_length()
    output, scale = _unclipped(gather.input_value(0)), 1.0
    rows = output.get_node()
    factor = _factor(rows)
    if factor is not None:
        output, scale = _unclipped(rows.input_value(0)), factor
        rows = output.get_node()
    turned = _rotated(source(rows, 0)) if rows.get_type_name() == "Reshape" else None
    return Side(turned[0] if turned else output, count, width, scale, (turned or ())[1:])


def _factor(node: Any) -> float | None:
    """What a node multiplies all numbers by; None of any other node."""
    found = source(node, 1, "Constant") if node.get_type_name() == "Multiply" else None
    if found is None or np.size(found.get_data()) != 1:
        return None
    return float(np.ravel(found.get_data())[0])


def _unclipped(output: Any) -> Any:
    """Without the Clip that bounds nothing, which has no use here.

    It keeps dequantization in front of the gather.
    """
    for kind in ("Minimum", "Maximum"):
        clip = output.get_node()
        if clip.get_type_name() == kind:
            first = clip.input_value(0).get_node().get_type_name() == "Constant"
            output = clip.input_value(1 if first else 0)
    return output


def _rotated(total: Any) -> tuple[Any, Any, Any] | None:
    """``x · cosine + turned(x) · sine`` -> outputs of x, cosine and sine."""
    if total.get_type_name() != "Add":
        return None
    plain, other = source(total, 0, "Multiply"), source(total, 1, "Multiply")
    joined = source(other, 0, "Concat")
    split = source(source(joined, 0, "Negative"), 0)
    if not plain or not joined or split.get_type_name() not in ("Split", "VariadicSplit"):
        return None
    x = plain.input_value(0)
    second, first = source(joined, 0).input_value(0), joined.input_value(1)
    halves = first.get_node() == split and (first.get_index(), second.get_index()) == (0, 1)
    if joined.get_input_size() != 2 or not halves or split.input_value(0) != x:
        return None
    return x, plain.input_value(1), other.input_value(1)


def _joint(
    query: Any, key: Any, value: Any, *, rows_last: bool
) -> tuple[Any, int, int, float] | None:
    """Output, heads, width of a head and scale of one projection that is gathered and split."""
    if rows_last:
        if key.get_type_name() != "Transpose" or constant(key, 1) != TURNED:
            return None
        key = source(key, 0)
    factor = _factor(query)
    if factor is None:
        return None
    sides = source(query, 0), key, value
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
    return (gather.input_value(0), heads, width, factor) if parts == 3 else None
