#!/usr/bin/env bash
# A token id outside the embedding table: ONNX Runtime refuses it, OpenVINO answers with a row of zeros.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

table = np.arange(1, 13, dtype=np.float32).reshape(4, 3)  # four pieces of three values, none zero
graph = helper.make_graph(
    [helper.make_node("Gather", ["table", "ids"], ["y"])],
    "embedding",
    [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    [numpy_helper.from_array(table, "table")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
data = model.SerializeToString()
ids = np.array([3, 4])  # 4 is one past the last row: a tokenizer with one added token too many

print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    an error from both, as ids has a value outside the table")
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
try:
    session.run(None, {"ids": ids})
    refused = False
except Exception as error:
    refused = "out of data bounds" in str(error)
print("onnxruntime", "refuses it" if refused else "answers")
core = openvino.Core()
ov = core.compile_model(core.read_model(data), "CPU")({"ids": ids})[0]
print("openvino   ", ov.tolist())
if not refused or ov[1].any() or not np.array_equal(ov[0], table[3]):
    raise SystemExit("CHANGED: OpenVINO no longer gives zeros for a token id outside the table")
print("SEEN: with a mismatched tokenizer OpenVINO gives plausible embeddings and no error.")
PY
