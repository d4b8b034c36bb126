#!/usr/bin/env bash
# ONNX StringSplit without a delimiter splits "on consecutive whitespace": ONNX Runtime knows ASCII blanks only, the reference all of Unicode.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

graph = helper.make_graph(
    [helper.make_node("StringSplit", ["x"], ["parts", "count"])],
    "split",
    [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
    [
        helper.make_tensor_value_info("parts", TensorProto.STRING, None),
        helper.make_tensor_value_info("count", TensorProto.INT64, ["n"]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
texts = np.array(["東京 大阪", "東京\u3000大阪", "10\u00a0000 km", "a\u2028b"], object)  # U+3000 is the Japanese keyboard's blank
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
seen = session.run(None, {"x": texts})[1].tolist()
reference = ReferenceEvaluator(model).run(None, {"x": texts})[1].tolist()
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("texts       ", texts.tolist())
print("expected     parts [2, 2, 3, 2]: each of these blanks has the Unicode property White_Space")
print("reference   ", reference)
print("onnxruntime ", seen)
if reference != [2, 2, 3, 2] or seen != [2, 1, 2, 1]:
    raise SystemExit("CHANGED: both now agree on what whitespace is")
print("SEEN: word counts and bags of words differ for Japanese, Chinese and French text between a test on the reference and the server.")
PY
