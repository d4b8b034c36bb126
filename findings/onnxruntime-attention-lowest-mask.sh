#!/usr/bin/env bash
# ONNX Attention with a float mask of finfo.min in each place of a row: ONNX Runtime answers with zeros, as for -inf; with -1e30, and in OpenVINO, it is the mean of the values.
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

lowest = float(np.finfo(np.float32).min)
query = np.ones((1, 1, 1, 4), np.float32)
key = np.random.default_rng(0).standard_normal((1, 1, 3, 4)).astype(np.float32)
value = np.repeat(np.array([0, 1, 5], np.float32), 4).reshape(1, 1, 3, 4)


def run(low: float) -> dict[str, float]:
    feeds = {"q": query, "k": key, "v": value, "mask": np.full((1, 3), low, np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Attention", list(feeds), ["y"])],
        "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape)) for name, array in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    data = model.SerializeToString()
    core = openvino.Core()
    answers = {
        "reference": ReferenceEvaluator(model).run(None, feeds)[0],
        "onnxruntime": onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)[0],
        "openvino": core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feeds)[0],
    }
    return {name: round(float(answer.ravel()[0]), 3) for name, answer in answers.items()}


seen = {low: run(low) for low in (-1e30, lowest, -np.inf)}
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
print("expected    2.0 for both finite masks: the same number added to all scores, too large for the scores to count")
for low, answers in seen.items():
    print(f"{low:10.2g}", answers)
if seen[lowest] != {"reference": 2.0, "onnxruntime": 0.0, "openvino": 2.0} or set(seen[-1e30].values()) != {2.0}:
    raise SystemExit("CHANGED: finfo.min is no longer taken for minus infinity")
print("SEEN: finfo.min is the mask of transformers' exports; the row of an empty text or of padding differs between the runtimes.")
PY
