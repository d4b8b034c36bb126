#!/usr/bin/env bash
# tract (an ONNX runtime): NaN does not pass through Tanh, Relu, Clip and Max: tanh(NaN) is -0.9999994 and relu(NaN) 0, so a broken model answers with ordinary numbers.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tract==0.23.9 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper

values = np.array([np.nan, 0.5, np.nan, np.nan], np.float32)
bounds = [numpy_helper.from_array(np.float32(v), n) for n, v in {"low": -1.0, "high": 1.0}.items()]
nodes = {
    "Tanh": helper.make_node("Tanh", ["x"], ["y"]),
    "Relu": helper.make_node("Relu", ["x"], ["y"]),
    "Clip": helper.make_node("Clip", ["x", "low", "high"], ["y"]),
    "Max": helper.make_node("Max", ["x", "low"], ["y"]),
    "Sqrt": helper.make_node("Sqrt", ["x"], ["y"]),
}
print({name: version(name) for name in ("tract", "onnxruntime", "onnx", "numpy")}, "x", values.tolist())
print("expected    NaN at places 0, 2 and 3, as IEEE 754 arithmetic and ONNX Runtime give it")
seen = {}
with tempfile.TemporaryDirectory() as folder:
    for name, node in nodes.items():
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
        used = [b for b in bounds if b.name in node.input]
        graph = helper.make_graph([node], name, ends[:1], ends[1:], used)
        path = Path(folder, f"{name}.onnx")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        wanted = session.run(None, {"x": values})[0]
        found = tract.onnx().load(str(path)).into_model().into_runnable().run([values])[0].to_numpy()
        seen[name] = np.isnan(wanted).sum(), np.isnan(found).sum()
        print(f"{name:5} onnxruntime {wanted.tolist()}, tract {found.tolist()}")
if any(seen[name] != (3, 0) for name in ("Tanh", "Relu", "Clip", "Max")) or seen["Sqrt"] != (3, 3):
    raise SystemExit("CHANGED: NaN passes through")
print("SEEN: a check of the answer for NaN finds nothing: check the weights and an earlier tensor in another runtime.")
PY
