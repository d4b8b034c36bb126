#!/usr/bin/env bash
# onnx's reference evaluator: LpNormalization with p=1 divides by the sum of the values, not of their magnitudes; [3, -2] becomes [3, -2] instead of [0.6, -0.4].
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def run(p: int) -> dict[str, list[float]]:
    graph = helper.make_graph(
        [helper.make_node("LpNormalization", ["x"], ["y"], p=p, axis=-1)],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    data, x = model.SerializeToString(), np.array([[3, -2]], np.float32)
    core = openvino.Core()
    answers = {
        "reference": ReferenceEvaluator(model).run(None, {"x": x})[0],
        "onnxruntime": onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0],
        "openvino": core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": x})[0],
    }
    return {name: [round(float(v), 4) for v in answer[0]] for name, answer in answers.items()}


one, two = run(1), run(2)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    p=1 [0.6, -0.4], p=2 [0.8321, -0.5547]")
for name in one:
    print(f"{name:11} p=1", one[name], " p=2", two[name])
if one["reference"] != [3, -2] or one["onnxruntime"] != [0.6, -0.4] or one["openvino"] != [0.6, -0.4] or two["reference"] != two["onnxruntime"]:
    raise SystemExit("CHANGED: the reference evaluator now adds magnitudes")
print("SEEN: p=2, the default, is right, so the mistake shows only with p=1, and only where values have both signs.")
PY
