#!/usr/bin/env bash
# ml_dtypes' int4 keeps 4 bits in a sum (7+7+7 is 5) and wraps on a cast from float; numpy's int8 widens, ONNX QuantizeLinear saturates.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 ml_dtypes==0.6.0 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

codes = np.array([7, 7, 7], ml_dtypes.int4)
narrow, byte = int(codes.sum()), codes.astype(np.int8).sum()
x = np.array([7.6, 8.0, -9.0], np.float32)
cast = x.astype(ml_dtypes.int4).astype(np.int8).tolist()
graph = helper.make_graph(
    [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ],
    "int4",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    [numpy_helper.from_array(np.float32(1), "s"), numpy_helper.from_array(np.array(0, ml_dtypes.int4), "z")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
onnx_codes = session.run(None, {"x": x})[0].astype(int).tolist()
print("numpy", np.__version__, "ml_dtypes", ml_dtypes.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    sum 21 as for int8 (numpy widens small integers); codes [7, 7, -8]")
print("int4 sum   ", narrow, " int8 sum", int(byte))
print("int4 cast  ", cast, " ONNX QuantizeLinear", onnx_codes)
if narrow != 5 or byte != 21 or cast != [7, -8, 7] or onnx_codes != [7, 7, -8]:
    raise SystemExit("CHANGED: int4 of ml_dtypes now widens or saturates")
print("SEEN: zero-point corrections (sums of weight codes) and quantisers written with astype are wrong without an error.")
PY
