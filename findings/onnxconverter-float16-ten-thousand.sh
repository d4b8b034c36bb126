#!/usr/bin/env bash
# onnxconverter-common's float16 conversion: weights above 10000 become 10000 although float16 reaches 65504, and a scale of 3e-9 becomes 1.2e-7.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxconverter-common==1.16.0
"$tmp/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16

values = np.array([20000.0, -60000.0, np.finfo(np.float32).min, 3e-9, 1.0], np.float32)
graph = helper.make_graph(
    [helper.make_node("Add", ["x", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
    [numpy_helper.from_array(values, "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    seen = numpy_helper.to_array(float16.convert_float_to_float16(model).graph.initializer[0]).tolist()
with np.errstate(all="ignore"):
    plain = values.astype(np.float16).tolist()
print("onnx", onnx.__version__, "onnxconverter-common", version("onnxconverter-common"))
print("float32     ", values.tolist())
print("expected    ", plain, "or -65504 for the one that float16 cannot hold")
print("seen        ", seen)
if seen[:3] != [10000.0, -10000.0, -10000.0] or not 1e-7 < seen[3] < 1.3e-7:
    raise SystemExit("CHANGED: the limits of the conversion are now those of float16")
print("SEEN: an attention mask of -65504 or -3.4e38 becomes -10000, outlier weights are halved, and a tiny value grows 40 times.")
PY
