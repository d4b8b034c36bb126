#!/usr/bin/env bash
# onnxruntime.quantization.quantize_dynamic returns the model in float, with no warning, where weights are Constant nodes or pass an Identity, or an operator is misspelt.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import logging
import os
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.CRITICAL)
weight = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(2, 2), "w0")
dense = helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")


def operators(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], **options: object) -> list[str]:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        before, after = os.path.join(folder, "a.onnx"), os.path.join(folder, "b.onnx")
        onnx.save(model, before)
        quantize_dynamic(before, after, **options)
        done = onnx.load(after)
    return [node.op_type for node in done.graph.node]


named = numpy_helper.from_array(numpy_helper.to_array(weight), "w")
seen = {
    "initializer": operators([dense], [named]),
    "Constant node": operators([helper.make_node("Constant", [], ["w"], value=weight), dense], []),
    "Identity of an initializer": operators([helper.make_node("Identity", ["w0"], ["w"]), dense], [weight]),
    "op_types_to_quantize=['Matmul']": operators([dense], [named], op_types_to_quantize=["Matmul"]),
    "nodes_to_exclude=['no such node']": operators([dense], [named], nodes_to_exclude=["no such node"]),
}
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
print("expected    MatMulInteger for the first three and the last, an error for the operator that does not exist")
for name, kinds in seen.items():
    print(f"{name:34}", kinds)
integer = ["MatMulInteger" in kinds for kinds in seen.values()]
if integer != [True, False, False, False, True]:
    raise SystemExit("CHANGED: quantize_dynamic now follows constants, or says what it left out")
print("SEEN: exporters write shared or traced weights in both forms; the file is marked as quantised and has float speed and size.")
PY
