#!/usr/bin/env bash
# ONNX Cast from string to number: ONNX Runtime reads the longest prefix that fits, so "1,5" is 1.0 and "12 apples" is 12, with no error.
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


def cast(text: str, kind: int, session: bool) -> object:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=kind)],
        "cast",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", kind, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": np.array([text], object)}
    try:
        if session:
            return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0][0].item()
        return ReferenceEvaluator(model).run(None, feeds)[0][0].item()
    except Exception as error:
        return type(error).__name__


onnxruntime.set_default_logger_severity(4)
cases = [("1,5", TensorProto.FLOAT), ("1_000", TensorProto.FLOAT), ("0x10", TensorProto.FLOAT), ("12 apples", TensorProto.INT64), ("1.9", TensorProto.INT64)]
seen = {text: (cast(text, kind, True), cast(text, kind, False)) for text, kind in cases}
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    an error for each text that is no number (the standard leaves it open), as the reference gives for most")
for text, (runtime, reference) in seen.items():
    print(f"{text!r:12} onnxruntime {runtime}  reference {reference}")
if [v[0] for v in seen.values()] != [1.0, 1.0, 16.0, 12, 1] or seen["1,5"][1] != "ValueError" or seen["1_000"][1] != 1000.0:
    raise SystemExit("CHANGED: ONNX Runtime now reads the whole text")
print("SEEN: a decimal comma (German, French, Russian) loses its fraction without a word.")
PY
