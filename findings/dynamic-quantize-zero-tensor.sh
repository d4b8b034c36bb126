#!/usr/bin/env bash
# DynamicQuantizeLinear of an all-zero tensor: three implementations give three scales (1/255, 1 and 0).
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
from onnx.reference import ReferenceEvaluator

graph = helper.make_graph(
    [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])],
    "dynamic",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [
        helper.make_tensor_value_info("y", TensorProto.UINT8, ["n"]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("zero", TensorProto.UINT8, []),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
x = np.zeros(4, np.float32)
core = openvino.Core()
compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
scales = {
    "reference": float(ReferenceEvaluator(model).run(None, {"x": x})[1]),
    "onnxruntime": float(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[1]),
    "openvino": float(compiled({"x": x})[1]),
}
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    one scale: the operator is part of the ONNX standard")
print("seen       ", scales)
if not (abs(scales["reference"] - 1 / 255) < 1e-6 and scales["onnxruntime"] == 1 and scales["openvino"] == 0):
    raise SystemExit("CHANGED: the scales of an all-zero tensor are no longer 1/255, 1 and 0")
print("SEEN: code that divides by the scale it reads back is safe on two of them and gets infinity on OpenVINO.")
PY
