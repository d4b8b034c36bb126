#!/usr/bin/env bash
# MatMulInteger with one zero point per row (tokens quantised one by one): ONNX Runtime refuses it, onnx's reference applies it to the columns, OpenVINO is right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
zero = np.array([1, 2], np.uint8)  # the standard: "may be an M element vector", per row of A
graph = helper.make_graph(
    [helper.make_node("MatMulInteger", ["a", "b", "zero"], ["y"])],
    "g",
    [helper.make_tensor_value_info(name, TensorProto.UINT8, [2, 2]) for name in "ab"],
    [helper.make_tensor_value_info("y", TensorProto.INT32, [2, 2])],
    [numpy_helper.from_array(zero, "zero")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
data = model.SerializeToString()
a = b = np.array([[1, 2], [3, 4]], np.uint8)
right = ((a.astype(np.int32) - zero[:, None]) @ b.astype(np.int32)).tolist()
reference = ReferenceEvaluator(model).run(None, {"a": a, "b": b})[0].tolist()
core = openvino.Core()
ov = core.compile_model(core.read_model(data), "CPU")({"a": a, "b": b})[0].tolist()
try:
    ort = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"a": a, "b": b})[0].tolist()
except Exception as error:
    ort = str(error).strip().split(":")[-1].strip()
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected   ", right)
print("openvino   ", ov)
print("reference  ", reference)
print("onnxruntime", ort)
if ov != right or reference == right or ort == right or not isinstance(ort, str):
    raise SystemExit("CHANGED: the three no longer differ on a zero point per row")
print("SEEN: the checker accepts the file; a square product hides the reference's mistake, and no session can run it.")
PY
