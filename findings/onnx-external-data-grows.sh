#!/usr/bin/env bash
# onnx.save with external data appends to the weights file: a model saved twice is twice as large on disk.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
    [numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32), "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
sizes = []
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.onnx")
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    for _ in range(3):
        sizes.append(os.path.getsize(os.path.join(folder, "weights.bin")))
        again = onnx.load(path)
        onnx.save(again, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
print("onnx", onnx.__version__)
print("expected    16384 bytes each time: saving to a path replaces what is there")
print("seen       ", sizes, "bytes after saves 1, 2, 3 of the same model to the same path")
if not sizes[0] < sizes[1] < sizes[2]:
    raise SystemExit("CHANGED: onnx.save now replaces the external data file")
print("SEEN: a pass that loads, edits and saves a model in place leaves its old weights behind, once for every save.")
PY
