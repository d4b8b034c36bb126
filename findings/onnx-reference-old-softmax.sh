#!/usr/bin/env bash
# onnx's reference evaluator computes Softmax of an opset 11 file by the rule of opset 13: axis 1 of three dimensions is one axis instead of all that follow; ONNX Runtime and onnx's version converter keep to the file.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter
from onnx.reference import ReferenceEvaluator


def softmax(opset: int, **attributes: int) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], **attributes)], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


x = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 3
wanted = np.exp(x - x.max(axis=(1, 2), keepdims=True))
wanted /= wanted.sum(axis=(1, 2), keepdims=True)
print({"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__})
print("expected    before opset 13 the input is a matrix of the dimensions before and from the axis on (default 1): each row of 2 x 3 values sums to 1")
seen = {}
for name, attributes in (("no axis", {}), ("axis 1", {"axis": 1}), ("axis 2", {"axis": 2})):
    model = softmax(11, **attributes)
    answers = {
        "reference": ReferenceEvaluator(model).run(None, {"x": x})[0],
        "ONNX Runtime": run(model),
        "converted to 13": run(version_converter.convert_version(model, 13)),
    }
    seen[name] = {who: np.round(answer.sum(axis=(1, 2)), 3).tolist() for who, answer in answers.items()}
    close = {who: bool(np.allclose(answer, wanted)) for who, answer in answers.items()}
    print(f"{name:8} sum of each matrix: {seen[name]}")
    if name != "axis 2" and (not close["ONNX Runtime"] or not close["converted to 13"] or close["reference"]):
        raise SystemExit("CHANGED: the reference follows the file's opset, or the runtime does not")
print("SEEN: a file checked against the reference is right there and wrong in the runtime, or the other way round; the last axis is the same by both rules.")
PY
