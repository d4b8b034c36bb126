#!/usr/bin/env bash
# A NaN in ReduceMax: whether it is seen depends on its position, and the two runtimes need it at different positions.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

graph = helper.make_graph(
    [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)],
    "range",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
core = openvino.Core()
compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
seen = {}
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    NaN, as numpy and the reference evaluator give, wherever the NaN stands")
for position in range(3):
    x = np.array([1, 2, 3], np.float32)
    x[position] = np.nan
    values = [ReferenceEvaluator(model).run(None, {"x": x})[0], session.run(None, {"x": x})[0], compiled({"x": x})[0]]
    seen[position] = [bool(np.isnan(v)) for v in values]
    print(x.tolist(), "reference", float(values[0]), "onnxruntime", float(values[1]), "openvino", float(values[2]))
if not all(s[0] for s in seen.values()):
    raise SystemExit("CHANGED: the reference evaluator no longer passes NaN on")
for column, name in ((1, "ONNX Runtime"), (2, "OpenVINO")):
    if len({s[column] for s in seen.values()}) == 1:
        raise SystemExit(f"CHANGED: {name} now treats NaN the same at each position")
print("SEEN: a calibration graph that reduces with max can hide a layer that makes NaN.")
PY
