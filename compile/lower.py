"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

A linear layer that reads a quantized site becomes, after TensorRT's and OpenVINO's conventions for
explicit quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel
DequantizeLinear of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.ranges import read_ranges
from xopt.compile.editing import GraphEditor
from xopt.compile.external import WEIGHTS, Weights, WeightsWriter, load_model
from xopt.compile.recipes import Lowering
from xopt.host import tool_versions

__all__ = ["column_maxima", "lower_graph", "lowered_fingerprint", "quantize_rows"]

# The linear layer that reads each site.
READER = {
    "qkv_in": "qkv",
    "context": "attention_output",
    "ffn_in": "ffn_in",
    "ffn_act": "ffn_out",
}
SITE = {linear: site for site, linear in READER.items()}
LINEAR = re.compile(r"^(layers\.\d+)\.(qkv|attention_output|ffn_in|ffn_out)\.weight$")
WORDS = "embeddings.word.weight"

Array = NDArray[np.float32]


def lowered_fingerprint(graph: str, lowering: Lowering, ranges: str | None) -> str:
    """The fingerprint the lowered graph has, known before it is made."""
    return fingerprint(graph, ranges, asdict(lowering), {"format": 1})


def lower_graph(graph: Graph, lowering: Lowering, ranges: Ranges | None) -> LoweredGraph:
    """Lower ``graph``, or take it from the cache.

    Args:
        graph: fp32.
        lowering: what the target wants.
        ranges: needed when activations are quantized.
    """
    digest = lowered_fingerprint(
        graph.fingerprint, lowering, ranges.fingerprint if ranges else None
    )
    cached = LoweredGraph.find(digest)
    if cached is not None:
        return cached
    keys = ("head", "inputs", "output", "layers", "heads", "hidden", "first_position")
    facts = {key: graph.manifest[key] for key in (*keys, "max_tokens", "types", "checkpoint")}
    facts |= {
        "parent": graph.fingerprint,
        "ranges": ranges.fingerprint if ranges else None,
        "lowering": asdict(lowering),
        "tools": tool_versions("xopt", "onnx", "numpy"),
    }
    with publish(LoweredGraph.place(digest)) as work:
        if lowering == Lowering("fp32"):
            for name in ("graph.onnx", WEIGHTS):
                _link(graph.folder / name, work / name)
        else:
            _write(graph, lowering, ranges, work)
        write_manifest(work, LoweredGraph.kind, digest, facts)
    return LoweredGraph.open(LoweredGraph.place(digest))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(graph: Graph, lowering: Lowering, ranges: Ranges | None, folder: Path) -> None:
    model = load_model(graph.path)
    amax, smooth = read_ranges(ranges) if ranges else ({}, {})
    with WeightsWriter(folder) as writer:
        editor = GraphEditor(model, Weights(model, graph.folder), writer)
        for node in editor.source:
            linear = LINEAR.match(node.input[1]) if len(node.input) > 1 else None
            if node.op_type == "Gather" and node.input[0] == WORDS and lowering.weights != "fp32":
                _lower_words(editor, node, lowering)
            elif linear and lowering.weights == "int8":
                _lower_linear(editor, node, linear.group(1), linear.group(2), lowering, amax, smooth)
            elif linear and lowering.weights == "fp16":
                _halve_linear(editor, node)
            else:
                editor.keep(node)
        lowered = editor.finish()
    onnx.save(lowered, folder / "graph.onnx")
    onnx.checker.check_model(str(folder / "graph.onnx"))


def quantize_rows(values: Array) -> tuple[NDArray[np.int8], Array]:
    """Symmetric INT8 with one scale per row.

    Args:
        values: ``[rows, columns]`` float32.

    Returns:
        ``[rows, columns]`` int8 within ±127 and ``[rows]`` float32, ``values ≈ int8 · scale``.
    """
    quantized = np.empty(values.shape, np.int8)
    scales = np.empty(len(values), np.float32)
    # In slices, so that a table of 250,000 rows needs no second fp32 copy of itself.
    for start in range(0, len(values), 8192):
        part = np.asarray(values[start : start + 8192], np.float32)
        scale = np.abs(part).max(axis=1) / np.float32(127)
        scale[scale == 0] = 1
        quantized[start : start + 8192] = np.rint(part / scale[:, None])
        scales[start : start + 8192] = scale
    return quantized, scales


def _lower_words(editor: GraphEditor, node: onnx.NodeProto, lowering: Lowering) -> None:
    """Word embeddings: 8-bit rows with a per-row scale, or fp16 rows."""
    out, ids = node.output[0], node.input[1]
    table = np.asarray(editor.weights[WORDS])
    if lowering.embeddings == "fp16":
        editor.constant(WORDS + ".fp16", table.astype(np.float16))
        rows = editor.emit("Gather", [WORDS + ".fp16", ids], out + ".fp16", axis=0)
        editor.emit("Cast", [rows], out, to=onnx.TensorProto.FLOAT)
        return
    quantized, scales = quantize_rows(table)  # type: ignore[arg-type]
    editor.constant(WORDS + ".int8", quantized)
    editor.constant(WORDS + ".scale", scales[:, None])
    rows = editor.emit("Gather", [WORDS + ".int8", ids], out + ".int8", axis=0)
    cast = editor.emit("Cast", [rows], out + ".cast", to=onnx.TensorProto.FLOAT)
    scale = editor.emit("Gather", [WORDS + ".scale", ids], out + ".scale", axis=0)
    editor.emit("Mul", [cast, scale], out)


def _halve_linear(editor: GraphEditor, node: onnx.NodeProto) -> None:
    name = node.input[1]
    half = editor.constant(name + ".fp16", np.asarray(editor.weights[name]).astype(np.float16))
    full = editor.emit("Cast", [half], name + ".cast", to=onnx.TensorProto.FLOAT)
    transposed = editor.emit("Transpose", [full], name + ".t", perm=[1, 0])
    product = editor.emit("MatMul", [node.input[0], transposed], node.output[0] + ".product")
    editor.emit("Add", [product, node.input[2]], node.output[0])


def _lower_linear(
    editor: GraphEditor,
    node: onnx.NodeProto,
    layer: str,
    linear: str,
    lowering: Lowering,
    amax: Mapping[str, float],
    smooth: Mapping[str, Array],
) -> None:
    """Replace ``Gemm(x, W, b)`` by its quantized form."""
    source, name, bias = node.input[0], node.input[1], node.input[2]
    weight = np.asarray(editor.weights[name], np.float32)
    site = f"{layer}.{SITE[linear]}"
    divisor = smooth.get(site)
    if divisor is not None:
        weight = weight * divisor[None, :]
    if linear == "qkv" and f"{layer}.context" in smooth:
        bias, weight = _fold_context(editor, bias, weight, smooth[f"{layer}.context"])
    if divisor is not None and linear != "attention_output":
        inverse = editor.constant(site + ".smooth", (1 / divisor).astype(np.float32))
        source = editor.emit("Mul", [source, inverse], site + ".smoothed")
    quantized = _quantize_activation(editor, source, site, amax[site], lowering)
    values, scales = quantize_rows(weight)
    editor.constant(name + ".int8", values)
    editor.constant(name + ".scale", scales)
    editor.constant(name + ".zero", np.zeros(len(scales), np.int8))
    full = editor.emit(
        "DequantizeLinear",
        [name + ".int8", name + ".scale", name + ".zero"],
        name + ".dequantized",
        axis=0,
    )
    transposed = editor.emit("Transpose", [full], name + ".t", perm=[1, 0])
    product = editor.emit("MatMul", [quantized, transposed], node.output[0] + ".product")
    editor.emit("Add", [product, bias], node.output[0])


def _fold_context(
    editor: GraphEditor, bias: str, weight: Array, divisor: Array
) -> tuple[str, Array]:
    """Divide the value projection, so that the context arrives smoothed at no cost."""
    hidden = len(divisor)
    weight = weight.copy()
    weight[2 * hidden :] /= divisor[:, None]
    values = np.array(editor.weights[bias], np.float32)
    values[2 * hidden :] /= divisor
    return editor.constant(bias + ".smooth", values), weight


def _quantize_activation(
    editor: GraphEditor, source: str, site: str, amax: float, lowering: Lowering
) -> str:
    """QuantizeLinear and DequantizeLinear over ``[-amax, amax]``; signed, or moved by 128."""
    dtype, zero = (np.uint8, 128) if lowering.activations == "uint8" else (np.int8, 0)
    scale = editor.constant(site + ".scale", np.array(amax / 127, np.float32))
    zero_point = editor.constant(site + ".zero", np.array(zero, dtype))
    q = editor.emit("QuantizeLinear", [source, scale, zero_point], site + ".q")
    return editor.emit("DequantizeLinear", [q, scale, zero_point], site + ".dq")


def column_maxima(graph: Graph) -> Callable[[str], Array]:
    """``site -> [in]``: the largest absolute weight in each column of the layer that reads it."""
    weights = Weights(load_model(graph.path), graph.folder)

    def columns(site: str) -> Array:
        layer, _, name = site.rpartition(".")
        weight = np.asarray(weights[f"{layer}.{READER[name]}.weight"], np.float32)
        largest: Array = np.abs(weight).max(axis=0)
        return largest

    return columns
