"""What a lowered graph must be before a TensorRT parser may see it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xopt.errors import BuildError, UnsupportedError, require

__all__ = ["check_graph", "graph_inputs"]

# Axes whose size a batch decides. An axis of any other name is not known to equal one of these.
AXES = ("T", "B", "S", "B_plus_1")
PRODUCTS = 4
ADVICE = "Lower it again with: xopt build CHECKPOINT"


def graph_inputs(path: Path) -> dict[str, list[str | int]]:
    """``input -> shape``, with the names of the axes that vary."""
    return {value.name: _shape(value) for value in _load(path).graph.input}


def check_graph(path: Path, *, layers: int, plugins: Sequence[str] = ()) -> None:
    """Refuse a graph that TensorRT would abort on, or build into something slow or wrong.

    Args:
        path: the ONNX file.
        layers: of the encoder.
        plugins: domains of the plugins that the target has; TensorRT-RTX has none.

    Raises:
        UnsupportedError: a node, also inside a branch or a function, of another domain than
            ONNX's own.
        BuildError: the graph lacks something that the fused kernels need; it is named.
    """
    model = _load(path)
    graph = model.graph
    functions = (node for function in model.functions for node in function.node)
    for node in _with_inner(itertools.chain(graph.node, functions)):
        if node.domain not in ("", "ai.onnx", *plugins):
            raise UnsupportedError(
                f"{node.name or node.output[0]} is the plugin {node.domain}::{node.op_type}; this "
                "TensorRT has no plugins, and its parser would end the process.",
                hint="Build the plugin for --target tensorrt.",
            )
    _check_axes(graph)
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    dequantized = {
        node.output[0]: weights[node.input[1]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    quantized = [
        (node.name, dequantized[name])
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm")
        for name in node.input
        if name in dequantized
    ]
    for name, scale in quantized:
        if scale:
            raise BuildError(
                f"{name} has a weight with a scale for each channel: TensorRT would write its raw "
                "accumulators as fp16, where they overflow.",
                hint=ADVICE,
            )
    if quantized and len(quantized) != PRODUCTS * layers:
        raise BuildError(
            f"The graph has {len(quantized)} INT8 products for {layers} layers, not {PRODUCTS} for "
            "each: query, key and value must be one.",
            hint=ADVICE,
        )
    for node in graph.node:
        if node.op_type == "Gather":
            raise BuildError(
                f"{node.name or node.output[0]} is a Gather, which TensorRT makes a scalar kernel; "
                "it must be a GatherND.",
                hint=ADVICE,
            )


def _with_inner(nodes: Iterable[Any]) -> Iterator[Any]:
    """The nodes, and those of every graph in their attributes, however deep."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _with_inner(inner.node)


def _check_axes(graph: Any) -> None:
    shapes = {value.name: _shape(value) for value in graph.input}
    for name, shape in shapes.items():
        other = [axis for axis in shape if isinstance(axis, str) and axis not in AXES]
        if other:
            raise BuildError(
                f"The input {name} has an axis {other[0]!r}; possible are {', '.join(AXES)}: "
                "attention only fuses where equal axes have equal names.",
                hint=ADVICE,
            )
    bias, index = shapes.get("attention_bias"), shapes.get("pad_index")
    if bias is not None and index is not None and [bias[0], bias[-1]] != index[:2]:
        raise BuildError(
            f"attention_bias is {bias} and pad_index {index}: their B and S must be the same.",
            hint=ADVICE,
        )


def _load(path: Path) -> Any:
    onnx = require("onnx", extra="build", why="Building an engine")
    return onnx.load(path, load_external_data=False)


def _shape(value: Any) -> list[str | int]:
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
