#!/usr/bin/env bash
# onnx2torch: CumSum without a `reverse` attribute sums from the end: the positions that an exported XLM-R makes of its mask run backwards, with no error.
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
from onnx import TensorProto, helper, numpy_helper

for name in ("torchvision", "torchvision.ops"):  # imported, not used here
    sys.modules[name] = ModuleType(name)
sys.modules["torchvision.ops"].roi_align = None
from onnx2torch import convert  # noqa: E402

mask = np.array([[1, 1, 1, 1, 0, 0]], np.int64)


def positions(**attributes):  # as XLM-R has them: cumsum(mask) * mask + 1
    nodes = [
        helper.make_node("CumSum", ["mask", "axis"], ["sum"], **attributes),
        helper.make_node("Mul", ["sum", "mask"], ["real"]),
        helper.make_node("Add", ["real", "one"], ["positions"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, 6]) for n in ("mask", "positions")]
    constants = [numpy_helper.from_array(np.int64(1), n) for n in ("axis", "one")]
    graph = helper.make_graph(nodes, "positions", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"mask": mask})[0].tolist()[0], convert(model)(torch.from_numpy(mask)).tolist()[0]


print({name: version(name) for name in ("onnx2torch", "torch", "onnx", "onnxruntime", "numpy")})
print("mask", mask.tolist()[0])
print("expected    reverse is 0 where a node does not state it (ONNX, CumSum 11 and 14): 2, 3, 4, 5")
seen = {"not stated": positions(), "reverse=0": positions(reverse=0)}
for name, (wanted, found) in seen.items():
    print(f"{name:11} onnxruntime {wanted}, onnx2torch {found}")
if seen["not stated"] != ([2, 3, 4, 5, 1, 1], [5, 4, 3, 2, 1, 1]):
    raise SystemExit("CHANGED: CumSum without reverse sums from the start")
if seen["reverse=0"] != ([2, 3, 4, 5, 1, 1], [2, 3, 4, 5, 1, 1]):
    raise SystemExit("CHANGED: reverse=0")
print("SEEN: the converted encoder reads each text with its positions backwards; state reverse=0 in the file first.")
PY
