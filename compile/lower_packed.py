"""Graph → the packed form, that of the CPU: standard operators that compute in fp32.

A linear layer that reads a quantized site becomes, after OpenVINO's convention for explicit
quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel DequantizeLinear
of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.lower_openvino import AffineLowerer
from xopt.compile.quantize import HALF
from xopt.compile.recipes import Lowering
from xopt.compile.traced import DISTANCES, WORDS, WORDS_SITE, array, bias_of, input_name, linear_of

__all__ = ["lower_packed"]


def lower_packed(
    editor: GraphEditor,
    lowering: Lowering,
    sites: Mapping[str, Site],
    facts: Mapping[str, Any],
) -> None:
    """Change the traced graph into the form that OpenVINO reads.

    Args:
        editor: over the traced graph.
        lowering: of the form ``packed``.
        sites: by name; not read when nothing is quantized.
        facts: ``heads`` of the graph's manifest.
    """
    affine = None
    if lowering.activations == "uint8":
        affine = AffineLowerer(editor, sites, facts["heads"], lowering)
    stored = lowering.weights != "fp32"
    words = stored and WORDS_SITE not in lowering.fp32_sites
    for node in editor.walk(editor.source):
        linear, table = linear_of(node), input_name(node, 0) if node.op_type == "Gather" else ""
        if table == WORDS and words:
            _lower_words(editor, node, lowering)
        elif DISTANCES.match(table) and stored:
            _halve_rows(editor, node)
        elif linear and affine is not None:
            affine.lower(node, *linear)
        elif linear and lowering.weights == "fp16":
            _halve_linear(editor, node)
    editor.finish()


def _lower_words(editor: GraphEditor, node: ir.Node, lowering: Lowering) -> None:
    """Word embeddings: 8-bit rows with a per-row scale, or fp16 rows."""
    if lowering.embeddings == "fp16":
        _halve_rows(editor, node)
        return
    [out], ids = node.outputs, node.inputs[1]
    quantized, scales = quantize_rows(array(node.inputs[0]))
    rows = editor.constant(WORDS + ".int8", quantized)
    steps = editor.constant(WORDS + ".scale", scales[:, None])
    rows = editor.emit("Gather", [rows, ids], f"{out.name}.int8", axis=0)
    cast = editor.emit("Cast", [rows], f"{out.name}.cast", to=ir.DataType.FLOAT)
    scale = editor.emit("Gather", [steps, ids], f"{out.name}.scale", axis=0)
    editor.emit("Mul", [cast, scale], out)


def _halve_rows(editor: GraphEditor, node: ir.Node) -> None:
    """Rows of a table in fp16; one with a value that fp16 cannot hold stays as it is."""
    [out] = node.outputs
    half = _half(editor, node.inputs[0])
    if half is not None:
        rows = editor.emit("Gather", [half, node.inputs[1]], f"{out.name}.fp16", axis=0)
        editor.emit("Cast", [rows], out, to=ir.DataType.FLOAT)


def _half(editor: GraphEditor, weight: ir.Value | None) -> ir.Value | None:
    """In fp16; None where that would be infinite, or where all of it would lose bits."""
    assert weight is not None
    values = array(weight)
    most = np.abs(values).max(initial=0)
    with np.errstate(over="ignore"):
        half: NDArray[np.float16] = values.astype(np.float16)
    if not np.isfinite(half).all() or 0 < most < HALF.tiny:
        return None
    return editor.constant(f"{weight.name}.fp16", half)


def _halve_linear(editor: GraphEditor, node: ir.Node) -> None:
    half, [out], name = _half(editor, node.inputs[1]), node.outputs, input_name(node, 1)
    if half is None:
        return
    full = editor.emit("Cast", [half], name + ".cast", to=ir.DataType.FLOAT)
    transposed = editor.emit("Transpose", [full], name + ".t", perm=[1, 0])
    product = editor.emit("MatMul", [node.inputs[0], transposed], f"{out.name}.product")
    if len(node.inputs) > 2:
        bias = node.inputs[2]
    else:
        bias = editor.constant(f"{out.name}.bias", bias_of(node))
    editor.emit("Add", [product, bias], out)
