#!/usr/bin/env bash
# onnx.version_converter: Resize with mode="linear" from opset 10 to 13 shifts its points by half, Hardmax from 11 to 13 and Softmax of a middle axis from 13 to 11 change the axes they count over, with no error: the converted model answers otherwise; Softmax from 11 to 13 is done right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, version_converter

print({name: version(name) for name in ("onnx", "onnxruntime")})
x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def model(kind, opset, constants=(), **attributes):
    inputs = ["x", *(constant.name for constant in constants)]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 8] if kind == "Resize" else x.shape)],
        list(constants),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    checker.check_model(made, full_check=True)
    return made


def answer(made):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


scales = helper.make_tensor("scales", TensorProto.FLOAT, [3], [1, 1, 2])
cases = {
    "Softmax axis=1, 11 to 13": (model("Softmax", 11, axis=1), 13),
    "Softmax axis=-1, 13 to 11": (model("Softmax", 13, axis=-1), 11),
    "Resize nearest, 10 to 13": (model("Resize", 10, [scales], mode="nearest"), 13),
    "Resize linear, 10 to 13": (model("Resize", 10, [scales], mode="linear"), 13),
    "Hardmax axis=1, 11 to 13": (model("Hardmax", 11, axis=1), 13),
    "Softmax axis=1, 13 to 11": (model("Softmax", 13, axis=1), 11),
}
print("expected    the same answers before and after")
same = {}
for name, (made, opset) in cases.items():
    converted = version_converter.convert_version(made, opset)
    checker.check_model(converted, full_check=True)
    before, after = answer(made), answer(converted)
    same[name] = bool(np.allclose(before, after, atol=1e-6))
    print(name, "same" if same[name] else "other answers", "largest difference", abs(before - after).max())
wrong = [name for name, right in same.items() if not right]
if "Softmax axis=1, 11 to 13" in wrong or "Softmax axis=-1, 13 to 11" in wrong:
    raise SystemExit("CHANGED: the cases that are done right are wrong too")
if not {"Resize linear, 10 to 13", "Hardmax axis=1, 11 to 13", "Softmax axis=1, 13 to 11"} <= set(wrong):
    raise SystemExit("CHANGED: the converted model answers as before")
print("SEEN: the checker passes the converted files; compare the answers on a real input after each conversion.")
PY
