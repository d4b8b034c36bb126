"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

For our own kernels it is no graph but the arrays that they read.

A linear layer that reads a quantized site becomes, after TensorRT's and OpenVINO's conventions for
explicit quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel
DequantizeLinear of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import read_sites
from xopt.compile.centering import center_attention
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.editing import GraphEditor
from xopt.compile.external import WEIGHTS, Weights, WeightsWriter, load_model
from xopt.compile.lower_openvino import AffineLowerer
from xopt.compile.lower_tensorrt import lower_tensorrt
from xopt.compile.plugin_attention import lower_plugin
from xopt.compile.recipes import Lowering
from xopt.compile.tensorrt_rotary import RotaryLowerer
from xopt.compile.traced import DISTANCES, WORDS, WORDS_SITE, bias_of, linear_of
from xopt.compile.trimming import Trimmed, trim_words
from xopt.engines.cuda_weights import write_weights
from xopt.hashing import source_digest
from xopt.host import tool_versions

__all__ = ["lower_graph", "lowered_fingerprint"]


def lowered_fingerprint(
    graph: str, lowering: Lowering, ranges: str | None, trimmed: Trimmed | None = None
) -> str:
    """The fingerprint the lowered graph has, known before it is made."""
    source = source_digest("encoders", "calibrate", "compile")
    kept = [] if trimmed is None else [trimmed.fingerprint]
    return fingerprint(graph, ranges, asdict(lowering), source, *kept)


def lower_graph(
    graph: Graph,
    lowering: Lowering,
    ranges: Ranges | None,
    trimmed: Trimmed | None = None,
    *,
    checkpoint: Checkpoint | None = None,
) -> LoweredGraph:
    """Lower ``graph``, or take it from the cache.

    Args:
        graph: fp32.
        lowering: what the target wants.
        ranges: needed when activations are quantized.
        trimmed: the rows of the word embeddings that are kept, if not all.
        checkpoint: that the graph was traced from; its weights are read for the form ``kernels``.
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
        elif lowering.form == "kernels":
            assert checkpoint is not None
            # Both load PyTorch.
            from xopt.compile.lower_kernels import kernel_arrays
            from xopt.compile.packed_encoder import PackedEncoder

            model = PackedEncoder.load(checkpoint)
            sites = read_sites(ranges) if ranges else {}
            write_weights(*kernel_arrays(model, lowering, sites), work)
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
            lowered = _lower_nodes(editor, lowering, affine)
    onnx.save(lowered, folder / "graph.onnx")
    onnx.checker.check_model(str(folder / "graph.onnx"))


def _lower_nodes(
    editor: GraphEditor, lowering: Lowering, affine: AffineLowerer | None
) -> onnx.ModelProto:
    """The form that OpenVINO reads."""
    words = lowering.weights != "fp32" and WORDS_SITE not in lowering.fp32_sites
    for node in editor.source:
        linear = linear_of(node)
        if node.op_type == "Gather" and node.input[0] == WORDS and words:
            _lower_words(editor, node, lowering)
        elif _is_distances(node) and lowering.weights != "fp32":
            _halve_rows(editor, node)
        elif linear and affine is not None:
            affine.lower(node, *linear)
        elif linear and lowering.weights == "fp16":
            _halve_linear(editor, node)
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
