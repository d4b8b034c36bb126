"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

A linear layer that reads a quantized site becomes, after TensorRT's and OpenVINO's conventions for
explicit quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel
DequantizeLinear of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.sites import Site, read_sites
from xopt.compile.centering import center_attention
from xopt.compile.editing import GraphEditor
from xopt.compile.external import WEIGHTS, Weights, WeightsWriter, load_model
from xopt.compile.lower_openvino import AffineLowerer
from xopt.compile.lower_tensorrt import lower_tensorrt
from xopt.compile.plugin_attention import lower_plugin
from xopt.compile.quantize import quantize_rows
from xopt.compile.recipes import Lowering
from xopt.compile.tensorrt_rotary import RotaryLowerer
from xopt.compile.traced import (
    DISTANCES,
    READERS,
    SITE,
    WORDS,
    WORDS_SITE,
    bias_of,
    linear_of,
)
from xopt.compile.trimming import Trimmed, trim_words
from xopt.host import tool_versions

__all__ = ["lower_graph", "lowered_fingerprint", "site_weights"]

Array = NDArray[np.float32]


def lowered_fingerprint(
    graph: str, lowering: Lowering, ranges: str | None, trimmed: Trimmed | None = None
) -> str:
    """The fingerprint the lowered graph has, known before it is made."""
    kept = [] if trimmed is None else [trimmed.fingerprint]
    return fingerprint(graph, ranges, asdict(lowering), {"format": 15}, *kept)


def lower_graph(
    graph: Graph, lowering: Lowering, ranges: Ranges | None, trimmed: Trimmed | None = None
) -> LoweredGraph:
    """Lower ``graph``, or take it from the cache.

    Args:
        graph: fp32.
        lowering: what the target wants.
        ranges: needed when activations are quantized.
        trimmed: the rows of the word embeddings that are kept, if not all.
    """
    digest = lowered_fingerprint(
        graph.fingerprint, lowering, ranges.fingerprint if ranges else None, trimmed
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
        if lowering == Lowering("fp32") and trimmed is None:
            for name in ("graph.onnx", WEIGHTS):
                # A copy: ONNX refuses weights that have a second hard link.
                shutil.copyfile(graph.folder / name, work / name)
        else:
            _write(graph, lowering, ranges, work, trimmed)
        write_manifest(work, LoweredGraph.kind, digest, facts)
    return LoweredGraph.open(LoweredGraph.place(digest))


def _write(
    graph: Graph, lowering: Lowering, ranges: Ranges | None, folder: Path, trimmed: Trimmed | None
) -> None:
    model = load_model(graph.path)
    sites = read_sites(ranges) if ranges else {}
    with WeightsWriter(folder) as writer:
        editor = GraphEditor(model, Weights(model, graph.folder), writer)
        if trimmed is not None:
            trim_words(editor, trimmed)
        if lowering.attention:
            center_attention(editor, sites)
        if lowering.form != "packed":
            given = (editor, lowering, sites, graph.manifest)
            if lowering.form == "tensorrt":
                rotary = "rotary.0.cos" in editor.weights
                lowered = lower_tensorrt(*given, RotaryLowerer if rotary else None)
            else:
                lowered = lower_plugin(*given)
        else:
            affine = None
            if lowering.activations == "uint8":
                affine = AffineLowerer(editor, sites, graph.manifest["heads"], lowering)
            lowered = _lower_nodes(editor, lowering, sites, affine)
    onnx.save(lowered, folder / "graph.onnx")
    onnx.checker.check_model(str(folder / "graph.onnx"))


def _lower_nodes(
    editor: GraphEditor,
    lowering: Lowering,
    sites: Mapping[str, Site],
    affine: AffineLowerer | None,
) -> onnx.ModelProto:
    """The forms that OpenVINO and the CUDA engine read."""
    words = lowering.weights != "fp32" and WORDS_SITE not in lowering.fp32_sites
    for node in editor.source:
        linear = linear_of(node)
        if node.op_type == "Gather" and node.input[0] == WORDS and words:
            _lower_words(editor, node, lowering)
        elif _is_distances(node) and lowering.weights != "fp32":
            _halve_rows(editor, node)
        elif linear and affine is not None:
            affine.lower(node, *linear)
        elif linear and lowering.weights == "int8":
            _lower_linear(editor, node, *linear, lowering, sites)
        elif linear and lowering.weights == "fp16":
            _halve_linear(editor, node)
        elif node.op_type == "Softmax" and lowering.attention:
            _quantize_probs(editor, node)
        else:
            editor.keep(node)
    return editor.finish()


def _lower_words(editor: GraphEditor, node: onnx.NodeProto, lowering: Lowering) -> None:
    """Word embeddings: 8-bit rows with a per-row scale, or fp16 rows."""
    if lowering.embeddings == "fp16":
        _halve_rows(editor, node)
        return
    out, ids = node.output[0], node.input[1]
    quantized, scales = quantize_rows(np.asarray(editor.weights[WORDS]))
    editor.constant(WORDS + ".int8", quantized)
    editor.constant(WORDS + ".scale", scales[:, None])
    rows = editor.emit("Gather", [WORDS + ".int8", ids], out + ".int8", axis=0)
    cast = editor.emit("Cast", [rows], out + ".cast", to=onnx.TensorProto.FLOAT)
    scale = editor.emit("Gather", [WORDS + ".scale", ids], out + ".scale", axis=0)
    editor.emit("Mul", [cast, scale], out)


def _is_distances(node: onnx.NodeProto) -> bool:
    """Whether the rows of a table of distances are taken (disentangled positions)."""
    return node.op_type == "Gather" and DISTANCES.match(node.input[0]) is not None


def _halve_rows(editor: GraphEditor, node: onnx.NodeProto) -> None:
    """Rows of a table in fp16; one with a value that fp16 cannot hold stays as it is."""
    name, out = node.input[0], node.output[0]
    half = _half(editor.weights[name])
    if half is None:
        editor.keep(node)
        return
    editor.constant(name + ".fp16", half)
    rows = editor.emit("Gather", [name + ".fp16", node.input[1]], out + ".fp16", axis=0)
    editor.emit("Cast", [rows], out, to=onnx.TensorProto.FLOAT)


def _half(weight: NDArray[Any]) -> NDArray[np.float16] | None:
    """In fp16; None where that would be infinite."""
    with np.errstate(over="ignore"):
        half = np.asarray(weight).astype(np.float16)
    return half if np.isfinite(half).all() else None


def _halve_linear(editor: GraphEditor, node: onnx.NodeProto) -> None:
    name = node.input[1]
    half = _half(editor.weights[name])
    if half is None:
        editor.keep(node)
        return
    editor.constant(name + ".fp16", half)
    full = editor.emit("Cast", [name + ".fp16"], name + ".cast", to=onnx.TensorProto.FLOAT)
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
    sites: Mapping[str, Site],
) -> None:
    """Replace ``Gemm(x, W, b)`` by its quantized form."""
    name, bias = node.input[1], _bias(editor, node)
    weight = np.asarray(editor.weights[name], np.float32)
    site = f"{layer}.{SITE[linear]}"
    reach, divisor = sites[site].reach(lowering.attention), sites[site].divisor
    quantized = _quantize_activation(editor, node.input[0], site, reach, divisor)
    weight = _smoothed(weight, divisor)
    out = node.output[0]
    if linear == "qkv" and lowering.attention:
        _quantized_product(editor, quantized, weight, bias, name, out + ".exact")
        steps = [np.float32(sites[f"{layer}.{part}"].amax / 127) for part in "qkv"]
        scales = np.repeat(np.array(steps, np.float32), len(weight) // 3)
        _quantize_pair(editor, out + ".exact", f"{layer}.qkv_out", scales, out)
        return
    _quantized_product(editor, quantized, weight, bias, name, out)


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


def _quantize_activation(
    editor: GraphEditor, source: str, site: str, amax: float, divisor: Array | None
) -> str:
    """Q/DQ over ``[-amax, amax]``; a smoothed site is divided first."""
    scale = editor.constant(site + ".scale", np.array(amax / 127, np.float32))
    zero_point = editor.constant(site + ".zero", np.array(0, np.int8))
    if divisor is not None:
        inverse = editor.constant(site + ".smooth", np.float32(1) / divisor)
        source = editor.emit("Mul", [source, inverse], site + ".smoothed")
    q = editor.emit("QuantizeLinear", [source, scale, zero_point], site + ".q")
    return editor.emit("DequantizeLinear", [q, scale, zero_point], site + ".dq")


def site_weights(graph: Graph) -> Callable[[str], Array]:
    """``site -> [out, in]``: the weights of the linear layers that read it, one below the other."""
    weights = Weights(load_model(graph.path), graph.folder)

    def weight(site: str) -> Array:
        layer, _, name = site.rpartition(".")
        readers = [f"{layer}.{linear}.weight" for linear in READERS[name]]
        found = [np.asarray(weights[r], np.float32) for r in readers if r in weights]
        return found[0] if len(found) == 1 else np.concatenate(found)

    return weight
