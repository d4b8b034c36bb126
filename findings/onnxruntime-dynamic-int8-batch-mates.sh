#!/usr/bin/env bash
# ONNX Runtime's dynamic INT8: the answer for a text depends on the other texts of its batch; in float it does not.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

rng = np.random.default_rng(0)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])],
    [numpy_helper.from_array(rng.standard_normal((64, 32)).astype(np.float32), "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
text = rng.standard_normal((1, 64)).astype(np.float32)
mate = text.copy()
mate[0, 0] = 40.0  # one outlier feature, as encoders have
change = {}
with tempfile.TemporaryDirectory() as folder:
    paths = {"float32": os.path.join(folder, "f.onnx"), "dynamic INT8": os.path.join(folder, "q.onnx")}
    onnx.save(model, paths["float32"])
    quantize_dynamic(paths["float32"], paths["dynamic INT8"], weight_type=QuantType.QInt8, per_channel=True)
    for name, path in paths.items():
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        alone = session.run(None, {"x": text})[0][0]
        beside = session.run(None, {"x": np.concatenate([text, mate])})[0][0]
        change[name] = float(1 - alone @ beside / np.linalg.norm(alone) / np.linalg.norm(beside))
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    1 - cosine of one text alone and in a batch of two: 0")
for name, value in change.items():
    print(f"{name:13s} {value:.1e}")
if change["float32"] > 1e-6 or change["dynamic INT8"] < 1e-4:
    raise SystemExit("CHANGED: the scale of the activations no longer spans the batch")
print("SEEN: one scale covers all rows of the batch, so an index built in batches and single queries do not match bit by bit.")
PY
