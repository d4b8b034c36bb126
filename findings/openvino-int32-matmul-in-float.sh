#!/usr/bin/env bash
# INT32 MatMul and ReduceSum in an ONNX graph: OpenVINO computes them in float32, so a sum of INT8 products over 3072 columns is not exact.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("MatMul", ["a", "b"], ["y"]), helper.make_node("ReduceSum", ["c"], ["z"], keepdims=0)],
    "g",
    [
        helper.make_tensor_value_info("a", TensorProto.INT32, ["n", "k"]),
        helper.make_tensor_value_info("b", TensorProto.INT32, ["k", "m"]),
        helper.make_tensor_value_info("c", TensorProto.INT32, ["s"]),
    ],
    [
        helper.make_tensor_value_info("y", TensorProto.INT32, ["n", "m"]),
        helper.make_tensor_value_info("z", TensorProto.INT32, []),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
a = np.full((1, 3072), 127, np.int32)  # the widest layer of a base model, at the largest INT8 codes
b = np.full((3072, 1), 127, np.int32)
b[0] = 126
feeds = {"a": a, "b": b, "c": np.full(70, 2**18 + 1, np.int32)}
exact = [int((a @ b)[0, 0]), int(feeds["c"].sum())]
ort = [int(v.ravel()[0]) for v in onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)]
core = openvino.Core()
compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
ov = [int(np.asarray(v).ravel()[0]) for v in compiled(feeds).values()]
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected   ", exact, "(INT32 holds both)")
print("onnxruntime", ort)
print("openvino   ", ov)
if ort != exact or ov[0] == exact[0] or ov[1] == exact[1]:
    raise SystemExit("CHANGED: OpenVINO now adds INT32 exactly")
print("SEEN: an integer reference for an INT8 layer, written as a graph, is itself rounded to 24 bits; the outputs are still called INT32.")
PY
