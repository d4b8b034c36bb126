#!/usr/bin/env bash
# ONNX Attention with a padding mask of shape (batch, 1, 1, keys): the standard allows it, ONNX Runtime's CPU kernel refuses it.
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

batch, heads, length, size = 2, 2, 4, 8
rng = np.random.default_rng(0)
feed = {name: rng.standard_normal((batch, heads, length, size)).astype(np.float32) for name in "qkv"}
keep = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)


def build(mask):
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, heads, length, size]) for n in "qkv"]
    inputs.append(helper.make_tensor_value_info("mask", TensorProto.BOOL, list(mask.shape)))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, heads, length, size])
    graph = helper.make_graph([helper.make_node("Attention", ["q", "k", "v", "mask"], ["y"])], "a", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def ort(model, data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, data)[0]


small = keep[:, None, None, :]
full = np.broadcast_to(small, (batch, 1, length, length)).copy()
want = ReferenceEvaluator(build(small)).run(None, {**feed, "mask": small})[0]
core = openvino.Core()
settings = {"INFERENCE_PRECISION_HINT": "f32"}
ov = core.compile_model(core.read_model(build(small).SerializeToString()), "CPU", settings)({**feed, "mask": small})[0]
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    one answer: the mask must only be broadcastable to (batch, heads, queries, keys)")
print(f"openvino    differs from the reference by {np.abs(ov - want).max():.0e}")
try:
    ort(build(small), {**feed, "mask": small})
    refused = False
except Exception as error:
    refused = True
    print("onnxruntime", type(error).__name__, "for the mask", small.shape)
same = float(np.abs(ort(build(full), {**feed, "mask": full}) - want).max())
print(f"onnxruntime differs from the reference by {same:.0e} when the mask is expanded to {full.shape}")
if not refused or same > 1e-5 or np.abs(ov - want).max() > 1e-5:
    raise SystemExit("CHANGED: ONNX Runtime now broadcasts the mask along the queries")
print("SEEN: the usual padding mask of an encoder must be expanded to queries x keys before ONNX Runtime takes it.")
PY
