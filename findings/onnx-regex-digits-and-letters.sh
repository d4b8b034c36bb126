#!/usr/bin/env bash
# ONNX RegexFullMatch is RE2 by the standard, where \d, \w and \s are ASCII; onnx's reference evaluator runs Python's re, where they are Unicode.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def match(pattern: str, texts: list[str]) -> tuple[list[bool], list[bool]]:
    graph = helper.make_graph(
        [helper.make_node("RegexFullMatch", ["x"], ["y"], pattern=pattern)],
        "regex",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": np.array(texts, object)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0].tolist(), ReferenceEvaluator(model).run(None, feeds)[0].tolist()


cases = {r"\d+": ["12", "١٢", "१२"], r"\w+": ["abc", "école", "привет"], r"\s": [" ", "\u3000", "\u00a0"]}
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    the same from both: the standard names one syntax, RE2")
for pattern, texts in cases.items():
    runtime, reference = match(pattern, texts)
    print(pattern, texts, "onnxruntime", runtime, "reference", reference)
    if runtime != [True, False, False] or reference != [True, True, True]:
        raise SystemExit("CHANGED: the two now agree on " + pattern)
print("SEEN: a filter on numbers or words that passes its test drops Arabic, Hindi, French and Russian text when it is served.")
PY
