#!/usr/bin/env bash
# onnxscript's optimizer folds constants with onnx's reference evaluator: the saved model answers infinity, -infinity or NaN where the runtime computed a number.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
import onnxscript
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer


def model(kind: str, constant: np.ndarray, axes: bool, **attributes: object) -> onnx.ModelProto:
    inputs = [numpy_helper.from_array(constant, "c")] + ([numpy_helper.from_array(np.array([0]), "axes")] if axes else [])
    nodes = [
        helper.make_node(kind, [each.name for each in inputs], ["k"], **attributes),
        helper.make_node("Cast", ["k"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "wide"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], inputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(made: onnx.ModelProto) -> list[float]:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return [round(float(value), 3) for value in session.run(None, {"x": np.zeros(1, np.float32)})[0]]


onnxruntime.set_default_logger_severity(3)
cases = {
    "ReduceL2 float16 [300, 400]": model("ReduceL2", np.array([300, 400], np.float16), True),
    "LogSoftmax [0, -200]": model("LogSoftmax", np.array([0, -200], np.float32), False),
    "ReduceLogSumExp [-inf, -inf]": model("ReduceLogSumExp", np.full(2, -np.inf, np.float32), True),
    "LpNormalization p=1 [3, -2]": model("LpNormalization", np.array([3, -2], np.float32), False, p=1),
}
seen = {}
for name, made in cases.items():
    small = optimizer.optimize(made)
    seen[name] = (run(made), run(small), [node.op_type for node in small.graph.node])
print("onnxscript", onnxscript.__version__, "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    an optimised model answers as it did")
for name, (before, after, nodes) in seen.items():
    print(f"{name:28} before {before!s:14} after {after!s:16} nodes {nodes}")
if any(str(before) == str(after) for before, after, _ in seen.values()):
    raise SystemExit("CHANGED: folding and the runtime agree")
print("SEEN: a check of the optimised model against the reference passes, for both are wrong; compare it with the model before.")
PY
