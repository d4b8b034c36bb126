"""Graphs of which one part is not as the lowering leaves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from xopt.artifacts import LoweredGraph

Spoil = Callable[[onnx.ModelProto], None]


def spoiled(lowered: LoweredGraph, folder: Path, spoil: Spoil) -> Path:
    """A changed copy of the graph, its weights inside."""
    model = onnx.load(lowered.path)
    spoil(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return path


def scale_per_channel(model: onnx.ModelProto) -> None:
    """One product as other exporters write it: a scale for each column in its DequantizeLinear."""
    tensors = {t.name: t for t in model.graph.initializer}
    name = "layers.1.ffn_in.weight"
    ratio = numpy_helper.to_array(tensors[name + ".ratio"])
    step = numpy_helper.to_array(tensors[name + ".scale"])
    zero = np.zeros(len(ratio), np.int8)
    tensors[name + ".scale"].CopyFrom(numpy_helper.from_array(ratio * step, name + ".scale"))
    tensors[name + ".zero"].CopyFrom(numpy_helper.from_array(zero, name + ".zero"))
    tensors[name + ".ratio"].CopyFrom(numpy_helper.from_array(np.ones_like(ratio), name + ".ratio"))
    for node in model.graph.node:
        if node.output[0] == name + ".dequantized":
            node.attribute.append(helper.make_attribute("axis", 1))


def keep_in_fp16(model: onnx.ModelProto) -> None:
    """One product as it was before it was quantized."""
    tensors = {t.name: t for t in model.graph.initializer}
    nodes = {n.output[0]: n for n in model.graph.node}
    product = nodes["layers.1.ffn_in.matmul"]
    weight, quantize = nodes[product.input[1]], nodes[nodes[product.input[0]].input[0]]
    levels, step = (numpy_helper.to_array(tensors[name]) for name in weight.input[:2])
    values = (levels * step.astype(np.float32)).astype(np.float16)
    model.graph.initializer.append(numpy_helper.from_array(values, "fp16.weight"))
    product.input[:] = [quantize.input[0], "fp16.weight"]
    for node in (weight, nodes["layers.1.ffn_in.dq"], quantize):
        model.graph.node.remove(node)


def rename_mask_axes(model: onnx.ModelProto) -> None:
    """A mask whose sizes are not known to be the index's."""
    for value in model.graph.input:
        if value.name == "attention_bias":
            dims = value.type.tensor_type.shape.dim
            dims[0].dim_param, dims[3].dim_param = "B2", "S2"


def swap_mask_axes(model: onnx.ModelProto) -> None:
    """Known names in the wrong places."""
    for value in model.graph.input:
        if value.name == "attention_bias":
            dims = value.type.tensor_type.shape.dim
            dims[0].dim_param, dims[3].dim_param = "S", "B"


def gather_rows(model: onnx.ModelProto) -> None:
    """One GatherND as a Gather."""
    node = next(n for n in model.graph.node if n.name == "layers.0.q.padded")
    node.op_type = "Gather"
    node.attribute.append(helper.make_attribute("axis", 0))


def add_plugin(model: onnx.ModelProto) -> None:
    """A node that only a plugin could compute."""
    model.opset_import.append(helper.make_opsetid("xopt", 1))
    output = model.graph.output[0]
    last = next(n for n in model.graph.node if n.output[0] == output.name)
    last.output[0] = "before.plugin"
    model.graph.node.append(
        helper.make_node("VarlenAttention", ["before.plugin"], [output.name], domain="xopt")
    )


def plugin_node() -> onnx.NodeProto:
    return helper.make_node("VarlenAttention", ["x"], ["y"], domain="xopt")


def add_plugin_in_branch(model: onnx.ModelProto) -> None:
    """A plugin two branches deep."""
    body = helper.make_graph([plugin_node()], "inner", [], [])
    for name in ("middle", "outer"):
        node = helper.make_node("If", ["yes"], [name], then_branch=body, else_branch=body)
        body = helper.make_graph([node], name, [], [])
    model.graph.node.append(body.node[0])


def add_plugin_in_function(model: onnx.ModelProto) -> None:
    """A plugin in a function of the model."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("xopt", 1)]
    function = helper.make_function("local", "F", ["x"], ["y"], [plugin_node()], opsets)
    model.functions.append(function)


def split_projection(model: onnx.ModelProto) -> None:
    """Query, key and value of one layer as three products."""
    tensors = {t.name: t for t in model.graph.initializer}
    nodes = {n.output[0]: n for n in model.graph.node}
    name = "layers.0.qkv"
    weight = numpy_helper.to_array(tensors[name + ".weight.int8"])
    ratio = numpy_helper.to_array(tensors[name + ".weight.ratio"])
    bias = numpy_helper.to_array(tensors[name + ".bias"])
    source = nodes[name + ".matmul"].input[0]
    hidden = weight.shape[1] // 3
    added: list[onnx.NodeProto] = []
    for number, part in enumerate("qkv"):
        columns = slice(number * hidden, (number + 1) * hidden)
        own = f"layers.0.{part}"
        for suffix, values in (("int8", weight[:, columns]), ("ratio", ratio[columns])):
            array = np.ascontiguousarray(values)
            model.graph.initializer.append(numpy_helper.from_array(array, f"{own}.w.{suffix}"))
        shift = np.ascontiguousarray(bias[columns])
        model.graph.initializer.append(numpy_helper.from_array(shift, own + ".shift"))
        parts = [own + ".w.int8", name + ".weight.scale", name + ".weight.zero"]
        added += [
            helper.make_node("DequantizeLinear", parts, [own + ".w"], name=own + ".w"),
            helper.make_node("MatMul", [source, own + ".w"], [own + ".mm"], name=own + ".mm"),
            helper.make_node("Mul", [own + ".mm", own + ".w.ratio"], [own + ".mr"]),
            helper.make_node("Add", [own + ".mr", own + ".shift"], [own]),
        ]
    split = next(n for n in model.graph.node if n.op_type == "Split" and n.input[0] == name)
    dropped = {split.name, name + ".matmul", name + ".scaled", name, name + ".weight.dequantized"}
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name == split.name:
            kept += added
        if node.name not in dropped and not set(node.output) & dropped:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
