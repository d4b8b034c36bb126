#!/usr/bin/env bash
# INT8 arithmetic in an ONNX graph: OpenVINO computes it in float, so 7 / 2 is 4 and 100 + 100 is 127; ONNX Runtime gives 3 and -56.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def run(operator: str, a: list[int], b: list[int]) -> dict[str, list[int]]:
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.INT8, ["n"]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.INT8, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    data = model.SerializeToString()
    feeds = {"a": np.array(a, np.int8), "b": np.array(b, np.int8)}
    core = openvino.Core()
    return {
        "reference": ReferenceEvaluator(model).run(None, feeds)[0].tolist(),
        "onnxruntime": onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)[0].tolist(),
        "openvino": core.compile_model(core.read_model(data), "CPU")(feeds)[0].tolist(),
    }


quotients = run("Div", [7, -7, 5], [2, 2, 2])
sums = run("Add", [100, -100], [100, -100])
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    7/2, -7/2, 5/2 = [3, -3, 2]: integer division cuts toward zero;  100+100, -100-100 wraps: [-56, 56]")
for name in quotients:
    print(f"{name:11}", quotients[name], sums[name])
if quotients["onnxruntime"] != [3, -3, 2] or quotients["openvino"] != [4, -4, 2] or sums["openvino"] != [127, -128]:
    raise SystemExit("CHANGED: OpenVINO now computes INT8 with integer rules")
print("SEEN: halving an INT8 code or a uint8 bucket index in the graph gives neighbours of the right number; INT16 and INT32 are divided right.")
PY
