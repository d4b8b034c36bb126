#!/usr/bin/env bash
# onnx2torch: NonZero gives one row per element instead of one per axis, and IsInf counts both infinities although the file asks for one: other shapes and answers, with no error.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$tmp/venv/bin/pip" install --quiet --no-deps onnx2torch==1.5.15 # needs torchvision too, for two operations of images
"$tmp/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from types import ModuleType

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

for name in ("torchvision", "torchvision.ops"):  # imported, not used here
    sys.modules[name] = ModuleType(name)
sys.modules["torchvision.ops"].roi_align = None
from onnx2torch import convert  # noqa: E402


def answers(nodes, x, kind):
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape)),
        helper.make_tensor_value_info("y", kind, None),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].tolist(), convert(model)(torch.from_numpy(x)).tolist()


mask = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
scores = np.array([np.inf, -np.inf, 1], np.float32)
places = [helper.make_node("NonZero", ["x"], ["y"])]
rows = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Gather", ["i", "first"], ["y"], axis=0)]
rows.insert(0, helper.make_node("Constant", [], ["first"], value_int=0))
positive = [helper.make_node("IsInf", ["x"], ["y"], detect_negative=0)]
seen = {
    "NonZero": answers(places, mask, TensorProto.INT64),
    "NonZero, then its row 0": answers(rows, mask, TensorProto.INT64),
    "IsInf, detect_negative=0": answers(positive, scores, TensorProto.BOOL),
}
print({name: version(name) for name in ("onnx2torch", "torch", "onnx", "onnxruntime", "numpy")})
print("mask", mask.tolist(), "scores", scores.tolist())
print("expected    the answers of ONNX Runtime: NonZero is (axes, elements); only +inf is counted")
for name, (wanted, found) in seen.items():
    print(f"{name:24} onnxruntime {wanted}, onnx2torch {found}")
if seen["NonZero"] != ([[0, 0, 1], [0, 1, 0]], [[0, 0], [0, 1], [1, 0]]):
    raise SystemExit("CHANGED: NonZero")
if seen["NonZero, then its row 0"] != ([0, 0, 1], [0, 0]):
    raise SystemExit("CHANGED: what follows NonZero")
if seen["IsInf, detect_negative=0"] != ([True, False, False], [True, True, False]):
    raise SystemExit("CHANGED: IsInf")
print("SEEN: the texts of the real tokens (row 0) become the place of the first token, so other vectors are gathered.")
PY
