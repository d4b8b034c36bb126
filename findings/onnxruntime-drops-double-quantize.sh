#!/usr/bin/env bash
# ONNX Runtime: of two Quantize/Dequantize pairs in a row with different scales its default optimisation removes one and rounds once, so the model answers otherwise than the file says, and than it does without optimisation.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

constants = {"coarse": np.float32(0.1), "fine": np.float32(0.02), "zero": np.int8(0)}
nodes = [
    helper.make_node("QuantizeLinear", ["x", "coarse", "zero"], ["a"]),
    helper.make_node("DequantizeLinear", ["a", "coarse", "zero"], ["b"]),
    helper.make_node("QuantizeLinear", ["b", "fine", "zero"], ["c"]),
    helper.make_node("DequantizeLinear", ["c", "fine", "zero"], ["y"]),
]
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
graph = helper.make_graph(nodes, "two pairs", values[:1], values[1:], tensors)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model)
x = np.array([0.13, 0.26, -0.34, 0.87, 1.94], np.float32)


def answer(level: ort.GraphOptimizationLevel) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


plain = answer(ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
usual = answer(ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
reference = ReferenceEvaluator(model).run(None, {"x": x})[0]
print("onnx", onnx.__version__, "onnxruntime", ort.__version__)
print("expected    multiples of 0.1 (the first pair) at each level of optimisation")
for name, found in {"x": x, "onnx's reference": reference, "not optimised": plain, "by default": usual}.items():
    print(f"{name:17}", found.round(3).tolist())
if not np.allclose(plain, reference, atol=1e-6):
    raise SystemExit("CHANGED: the plain run is not the reference's")
if np.allclose(usual, plain, atol=1e-6):
    raise SystemExit("CHANGED: both pairs are computed")
print("SEEN: what another runtime or a quantisation-aware training computed is not what is served. Write one pair where two meet.")
PY
