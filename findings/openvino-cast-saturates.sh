#!/usr/bin/env bash
# ONNX Cast from float to INT8: ONNX Runtime wraps around, OpenVINO saturates, for the same file.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT8)
graph = helper.make_graph(
    [node],
    "cast",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.INT8, ["n"])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
x = np.array([1.0, -128.9, 130.0, 300.0, -300.0], np.float32)

ort = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
core = openvino.Core()
ov = core.compile_model(core.read_model(data), "CPU")({"x": x})[0]
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("input      ", x.tolist())
print("expected    the same INT8 values from both runtimes")
print("onnxruntime", ort.tolist())
print("openvino   ", ov.tolist())
if ort.tolist() != [1, -128, -126, 44, -44] or ov.tolist() != [1, -128, 127, 127, -128]:
    raise SystemExit("CHANGED: the runtimes no longer wrap (ONNX Runtime) and saturate (OpenVINO)")
print("SEEN: a hand-written quantiser Round + Cast without Clip is right in OpenVINO and wrong in ONNX Runtime.")
PY
