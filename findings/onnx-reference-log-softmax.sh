#!/usr/bin/env bash
# onnx's reference evaluator computes LogSoftmax as log(softmax): logits more than 104 below the largest give -inf, where both runtimes give the number.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")
graph = helper.make_graph(
    [helper.make_node("LogSoftmax", ["x"], ["y"], axis=-1)],
    "log_softmax",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
x = np.array([[0.0, -90.0, -120.0]], np.float32)
reference = ReferenceEvaluator(model).run(None, {"x": x})[0][0].tolist()
ort = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0][0].tolist()
core = openvino.Core()
ov = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": x})[0][0].tolist()
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    [0.0, -90.0, -120.0]: x - log(sum(exp(x)))")
print("reference  ", reference)
print("onnxruntime", ort, "openvino", ov)
if reference[2] != -np.inf or ort != [0, -90, -120] or ov != [0, -90, -120]:
    raise SystemExit("CHANGED: the reference evaluator now subtracts in the log domain")
print("SEEN: a cross entropy or a masked class score judged against the reference differs by infinity.")
PY
