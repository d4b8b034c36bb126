#!/usr/bin/env bash
# 4-bit weights only: ONNX Runtime's default optimisation fuses DequantizeLinear + MatMul and rounds the activations to 8 bits.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 ml_dtypes==0.6.0
"$tmp/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
depth, width, block = 256, 64, 32
codes = rng.integers(-8, 8, (depth, width)).astype(np.int8)
scales = (0.01 + rng.random((depth // block, width)) / 50).astype(np.float32)
graph = helper.make_graph(
    [
        helper.make_node("DequantizeLinear", ["codes", "scales"], ["w"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", depth])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
    [numpy_helper.from_array(codes.astype(ml_dtypes.int4), "codes"), numpy_helper.from_array(scales, "scales")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
x = rng.standard_normal((16, depth)).astype(np.float32)
exact = x.astype(np.float64) @ (codes * np.repeat(scales, block, 0)).astype(np.float64)
level = onnxruntime.GraphOptimizationLevel
errors = {}
for name, how in (("no optimisation", level.ORT_DISABLE_ALL), ("default", level.ORT_ENABLE_ALL)):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = how
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x})[0]
    errors[name] = float(np.linalg.norm(y - exact) / np.linalg.norm(exact))
print("onnxruntime", onnxruntime.__version__)
print("expected    float rounding only (about 1e-7): no operator in the graph quantises the activations")
for name, error in errors.items():
    print(f"{name:16s} relative error {error:.1e}")
if errors["no optimisation"] > 1e-5 or errors["default"] < 1e-3:
    raise SystemExit("CHANGED: the default optimisation now keeps float activations")
print("SEEN: a weight-only INT4 export is evaluated as a W4A8 model, unless the graph optimisations are switched off.")
PY
