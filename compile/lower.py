"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

A linear layer that reads a quantized site becomes, after TensorRT's and OpenVINO's conventions for
explicit quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel
DequantizeLinear of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.ranges import read_ranges
from xopt.compile.centering import center_attention, moved_ranges
from xopt.compile.editing import GraphEditor
from xopt.compile.external import WEIGHTS, Weights, WeightsWriter, load_model
from xopt.compile.lower_tensorrt import lower_tensorrt
from xopt.compile.plugin_attention import lower_plugin
from xopt.compile.quantize import quantize_rows
from xopt.compile.recipes import Lowering
from xopt.compile.traced import READERS, SITE, WORDS, bias_of, linear_of
from xopt.host import tool_versions

__all__ = ["column_maxima", "lower_graph", "lowered_fingerprint"]

Array = NDArray[np.float32]


def lowered_fingerprint(graph: str, lowering: Lowering, ranges: str | None) -> str:
    """The fingerprint the lowered graph has, known before it is made."""
    return fingerprint(graph, ranges, asdict(lowering), {"format": 11})


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
                # A copy: ONNX refuses weights that have a second hard link.
                shutil.copyfile(graph.folder / name, work / name)
        else:
            _write(graph, lowering, ranges, work)
        write_manifest(work, LoweredGraph.kind, digest, facts)
    return LoweredGraph.open(LoweredGraph.place(digest))


def _write(graph: Graph, lowering: Lowering, ranges: Ranges | None, folder: Path) -> None:
    model = load_model(graph.path)
    amax, smooth, centers = read_ranges(ranges) if ranges else ({}, {}, {})
    with WeightsWriter(folder) as writer:
        editor = GraphEditor(model, Weights(model, graph.folder), writer)
        if lowering.attention:
            center_attention(editor, centers)
            amax = moved_ranges(amax, "centered")
        if lowering.form != "packed":
            form = lower_tensorrt if lowering.form == "tensorrt" else lower_plugin
            amax = moved_ranges(amax, "shifted")
            lowered = form(editor, lowering, amax, smooth, centers, graph.manifest)
        else:
            lowered = _lower_nodes(editor, lowering, amax, smooth, graph.manifest["heads"])
    onnx.save(lowered, folder / "graph.onnx")
    onnx.checker.check_model(str(folder / "graph.onnx"))


def _lower_nodes(
    editor: GraphEditor,
    lowering: Lowering,
    amax: Mapping[str, float],
    smooth: Mapping[str, Array],
    heads: int,
) -> onnx.ModelProto:
    """The form that OpenVINO and the CUDA engine read."""
    done: dict[str, str] = {}
    for node in editor.source:
        linear = linear_of(node)
        if node.op_type == "Gather" and node.input[0] == WORDS and lowering.weights != "fp32":
            _lower_words(editor, node, lowering)
        elif linear and lowering.weights == "int8":
            _lower_linear(editor, node, *linear, lowering, amax, smooth, heads, done)
        elif linear and lowering.weights == "fp16":
            _halve_linear(editor, node)
        elif node.op_type == "Softmax" and lowering.attention:
            _quantize_probs(editor, node)
        else:
            editor.keep(node)
    return editor.finish()


def _lower_words(editor: GraphEditor, node: onnx.NodeProto, lowering: Lowering) -> None:
    """Word embeddings: 8-bit rows with a per-row scale, or fp16 rows."""
    out, ids = node.output[0], node.input[1]
    table = np.asarray(editor.weights[WORDS])
    if lowering.embeddings == "fp16":
        editor.constant(WORDS + ".fp16", table.astype(np.float16))
        rows = editor.emit("Gather", [WORDS + ".fp16", ids], out + ".fp16", axis=0)
        editor.emit("Cast", [rows], out, to=onnx.TensorProto.FLOAT)
        return
    quantized, scales = quantize_rows(table)
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
    editor.emit("Add", [product, _bias(editor, node)], node.output[0])


def _bias(editor: GraphEditor, node: onnx.NodeProto) -> str:
    """The bias of a Gemm; the exporter drops one that is all zeros."""
    if len(node.input) > 2:
        return str(node.input[2])
    return editor.constant(node.output[0] + ".bias", bias_of(editor, node))


def _lower_linear(
    editor: GraphEditor,
    node: onnx.NodeProto,
    layer: str,
    linear: str,
    lowering: Lowering,
    amax: Mapping[str, float],
    smooth: Mapping[str, Array],
    heads: int,
    done: dict[str, str],
) -> None:
    """Replace ``Gemm(x, W, b)`` by its quantized form; ``done`` are the sites quantized so far."""
    name, bias = node.input[1], _bias(editor, node)
    weight = np.asarray(editor.weights[name], np.float32)
    site = f"{layer}.{SITE[linear]}"
    divisor = smooth.get(site)
    if site not in done:
        source = node.input[0]
        done[site] = _quantize_activation(editor, source, site, amax[site], divisor, lowering)
    quantized = done[site]
    if linear == "qkv" and lowering.split_qkv:
        split = _split_attention_inputs(editor, node, heads)
        values = editor.array(bias)
        hidden = len(weight) // 3
        for number, (part, factor) in enumerate(zip("qkv", (split.scale, 1.0, 1.0), strict=True)):
            rows = slice(number * hidden, (number + 1) * hidden)
            part_bias = editor.constant(f"{layer}.{part}.bias", values[rows] * np.float32(factor))
            out = f"{layer}.{part}"
            part_weight = _smoothed(weight[rows] * np.float32(factor), divisor)
            _quantized_product(editor, quantized, part_weight, part_bias, f"{out}.weight", out)
            split.emit(editor, out, number)
        return
    weight = _smoothed(weight, divisor)
    out = node.output[0]
    if linear == "qkv" and lowering.attention:
        _quantized_product(editor, quantized, weight, bias, name, out + ".exact")
        steps = [np.float32(amax[f"{layer}.{part}"] / 127) for part in "qkv"]
        scales = np.repeat(np.array(steps, np.float32), len(weight) // 3)
        _quantize_pair(editor, out + ".exact", f"{layer}.qkv_out", scales, out)
        return
    if linear in ("q", "k", "v") and lowering.split_qkv:
        _quantized_product(editor, quantized, weight, bias, name, out + ".exact")
        _bar(editor, out + ".exact", out)
        return
    _quantized_product(editor, quantized, weight, bias, name, out)


def _bar(editor: GraphEditor, source: str, out: str) -> str:
    """A Clip that bounds nothing.

    Without it OpenVINO moves the dequantization behind the gather, where it runs by itself over
    every padding slot; a Clip it cannot pass, and the product takes both in.
    """
    low = editor.constant("clip.low", np.array(-65504, np.float32))
    high = editor.constant("clip.high", np.array(65504, np.float32))
    return editor.emit("Clip", [source, low, high], out)


def _quantize_probs(editor: GraphEditor, node: onnx.NodeProto) -> None:
    """Keep the softmax, and quantize what it gives: at most 1, so in steps of 1/127."""
    out = node.output[0]
    exact = editor.emit("Softmax", node.input, out + ".exact", axis=-1)
    _quantize_pair(editor, exact, "probs", np.array(1 / 127, np.float32), out)


def _quantize_pair(editor: GraphEditor, source: str, site: str, scale: Array, out: str) -> None:
    """Signed Q/DQ with one scale, or one for each column of ``[T, n]``."""
    parts = [
        editor.constant(site + ".scale", scale),
        editor.constant(site + ".zero", np.zeros(scale.shape, np.int8)),
    ]
    axis = {"axis": 1} if scale.ndim else {}
    q = editor.emit("QuantizeLinear", [source, *parts], out + ".q", **axis)
    editor.emit("DequantizeLinear", [q, *parts], out, **axis)


def _smoothed(weight: Array, divisor: Array | None) -> Array:
    return weight if divisor is None else weight * divisor[None, :]


def _quantized_product(
    editor: GraphEditor, source: str, weight: Array, bias: str, name: str, out: str
) -> None:
    """``out = source · dequantize(int8 weight)^T + bias``; weight ``[out, in]``."""
    values, scales = quantize_rows(weight)
    parts = [
        editor.constant(name + ".int8", values),
        editor.constant(name + ".scale", scales),
        editor.constant(name + ".zero", np.zeros(len(scales), np.int8)),
    ]
    full = editor.emit("DequantizeLinear", parts, name + ".dequantized", axis=0)
    transposed = editor.emit("Transpose", [full], name + ".t", perm=[1, 0])
    product = editor.emit("MatMul", [source, transposed], out + ".product")
    editor.emit("Add", [product, bias], out)


@dataclass(frozen=True)
class _AttentionInputs:
    """What follows the joint projection in the traced graph, and replaces it once it is split.

    Attributes:
        pad_index: the gather's index.
        shape: ``[0, 0, heads, head_dim]``, the name of that constant.
        outputs: the names the rest of the graph reads: scaled q, k and v, ``[B, heads, S, d]``.
        scale: of the scores, folded into the query projection.
    """

    pad_index: str
    shape: str
    outputs: tuple[str, str, str]
    scale: float

    def emit(self, editor: GraphEditor, source: str, number: int) -> None:
        """Gather one projection into its padded, per-head form."""
        barred = _bar(editor, source, source + ".clip")
        padded = editor.emit("Gather", [barred, self.pad_index], source + ".padded", axis=0)
        heads = editor.emit("Reshape", [padded, self.shape], source + ".heads")
        editor.emit("Transpose", [heads], self.outputs[number], perm=[0, 2, 1, 3])


def _split_attention_inputs(
    editor: GraphEditor, node: onnx.NodeProto, heads: int
) -> _AttentionInputs:
    """Drop Gather → Reshape → Transpose → Split → 3 Squeeze (→ Mul) behind the joint projection."""
    gather = editor.consumer(node.output[0], "Gather")
    reshape = editor.consumer(gather.output[0], "Reshape")
    transpose = editor.consumer(reshape.output[0], "Transpose")
    split = editor.consumer(transpose.output[0], "Split")
    squeezes = [editor.consumer(name, "Squeeze") for name in split.output]
    multiply = editor.consumer(squeezes[0].output[0], "Mul")
    for dropped in (gather, reshape, transpose, split, *squeezes, multiply):
        editor.drop(dropped)
    scale = float(np.asarray(editor.weights[multiply.input[1]]))
    hidden = editor.weights[node.input[1]].shape[1]
    shape = editor.constant("heads.shape", np.array([0, 0, heads, hidden // heads], np.int64))
    outputs = (multiply.output[0], squeezes[1].output[0], squeezes[2].output[0])
    return _AttentionInputs(gather.input[1], shape, outputs, scale)


def _quantize_activation(
    editor: GraphEditor,
    source: str,
    site: str,
    amax: float,
    divisor: Array | None,
    lowering: Lowering,
) -> str:
    """QuantizeLinear and DequantizeLinear over ``[-amax, amax]``; signed, or moved by 128.

    A smoothed site is divided first. Behind a GELU, OpenVINO makes both a part of the product
    before it. Elsewhere the division has three dimensions: into one of ``[1, T, n]`` OpenVINO fuses
    the quantization, but one of ``[T, n]`` it merges into a quantization per channel, which takes
    several times as long.
    """
    dtype, zero = (np.uint8, 128) if lowering.activations == "uint8" else (np.int8, 0)
    scale = editor.constant(site + ".scale", np.array(amax / 127, np.float32))
    zero_point = editor.constant(site + ".zero", np.array(zero, dtype))
    apart = lowering.smooth_apart and divisor is not None and not site.endswith(".ffn_act")
    if apart:
        axis = editor.constant("axis.0", np.array([0], np.int64))
        source = editor.emit("Unsqueeze", [source, axis], site + ".3d")
    if divisor is not None:
        inverse = editor.constant(site + ".smooth", np.float32(1) / divisor)
        source = editor.emit("Mul", [source, inverse], site + ".smoothed")
    q = editor.emit("QuantizeLinear", [source, scale, zero_point], site + ".q")
    dq = editor.emit("DequantizeLinear", [q, scale, zero_point], site + ".dq")
    if apart:
        dq = editor.emit("Squeeze", [dq, "axis.0"], site + ".2d")
    return dq


def column_maxima(graph: Graph) -> Callable[[str], Array]:
    """``site -> [in]``: the largest absolute weight in each column of the layer that reads it."""
    weights = Weights(load_model(graph.path), graph.folder)

    def columns(site: str) -> Array:
        layer, _, name = site.rpartition(".")
        readers = [f"{layer}.{linear}.weight" for linear in READERS[name]]
        found = [np.abs(weights[reader]).max(axis=0) for reader in readers if reader in weights]
        largest: Array = np.max(found, axis=0).astype(np.float32)
        return largest

    return columns
