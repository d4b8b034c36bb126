#!/usr/bin/env bash
# onnxscript's optimizer joins two Clips into one with crossed bounds: clipped to [-1, -0.5] and then to [0, 1] a value is 0, the optimised model says -0.5, which the second Clip does not allow.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime as ort
import onnxscript.optimizer
from onnx import TensorProto, helper, numpy_helper

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
x = np.array([-3.0, -0.7, 0.2, 5.0], np.float32)


def model(first: tuple[float, float], second: tuple[float, float]) -> onnx.ModelProto:
    bounds = {"a": first[0], "b": first[1], "c": second[0], "d": second[1]}
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in bounds.items()]
    nodes = [helper.make_node("Clip", ["x", "a", "b"], ["z"]), helper.make_node("Clip", ["z", "c", "d"], ["y"])]
    graph = helper.make_graph(nodes, "clips", values[:1], values[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def answer(made: onnx.ModelProto) -> list[float]:
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].tolist()


print({name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")})
print("expected    the optimised model answers as the model does")
seen = {}
for first, second in [((-2, 2), (-1, 1)), ((-1, -0.5), (0, 1)), ((2, 3), (0, 1))]:
    made = model(first, second)
    better = onnxscript.optimizer.optimize(model(first, second))
    seen[first, second] = (answer(made), answer(better))
    print(f"Clip {first} then {second}: {seen[first, second][0]}   optimised, {len(better.graph.node)} node: {seen[first, second][1]}")
if seen[(-2, 2), (-1, 1)][0] != seen[(-2, 2), (-1, 1)][1]:
    raise SystemExit("CHANGED: ranges that overlap differ too")
if seen[(-1, -0.5), (0, 1)][0] == seen[(-1, -0.5), (0, 1)][1]:
    raise SystemExit("CHANGED: ranges that do not overlap are right")
print("SEEN: a guard against negative values (a length, a probability) is lost in the saved model. Compare the answers before and after.")
PY
