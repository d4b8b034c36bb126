"""Graph → the packed form, that of the CPU: standard operators that compute in fp32.

A linear layer that reads a quantized site becomes, after OpenVINO's convention for explicit
quantization: QuantizeLinear → DequantizeLinear → MatMul with a per-output-channel DequantizeLinear
of its INT8 weight → Add. Residual adds, LayerNorm, GELU and softmax stay in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import Site
from xopt.compile.editing import GraphEditor
from xopt.compile.lower_openvino import AffineLowerer
from xopt.compile.quantize import HALF
from xopt.compile.recipes import Lowering
from xopt.compile.traced import WORDS, WORDS_SITE, array, bias_of
from xopt.encoders.plan import Attend, Embed, Linear, Op

__all__ = ["lower_packed"]


def lower_packed(
    editor: GraphEditor, lowering: Lowering, sites: Mapping[str, Site], ops: Sequence[Op]
) -> None:
    """Change the traced graph into the form that OpenVINO reads.

    Args:
        editor: over the traced graph.
        lowering: of the form ``packed``.
        sites: by name; not read when nothing is quantized.
        ops: the plan that was traced.
    """
    affine = None
    if lowering.activations == "uint8":
        affine = AffineLowerer(editor, sites, lowering, ops)
    stored = lowering.weights != "fp32"
    found = {editor.nodes.get(name): op for op in ops for name in _lowered(op)}
    for node in editor.walk(filter(None, found)):
        match found[node]:
            case Embed() if stored and WORDS_SITE not in lowering.fp32_sites:
                _lower_words(editor, node, lowering)
            case Attend() if stored:
                _halve_rows(editor, node)
            case Linear() as op if affine is not None:
                affine.lower(op, node)
            case Linear() as op if lowering.weights == "fp16":
                _halve_linear(editor, op, node)
    editor.finish()


def _lowered(op: Op) -> list[str]:
    """The weights of an operation that a lowering stores in its own way."""
    match op:
        case Embed():
            return ["embeddings.word"]
        case Linear(site=str()):
            return [op.name]
        case Attend():
            return [f"{op.layer}.{term}" for term in op.terms]
    return []


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


def _halve_linear(editor: GraphEditor, op: Linear, node: ir.Node) -> None:
    half, [out], name = _half(editor, node.inputs[1]), node.outputs, f"{op.name}.weight"
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
