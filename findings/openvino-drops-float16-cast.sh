#!/usr/bin/env bash
# OpenVINO removes a Cast to float16 and back from an ONNX graph: 70000 stays 70000 and 2049 stays 2049, where ONNX Runtime and the reference answer infinity and 2048.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")
x = np.array([1.0, 0.1, 2049.0, 70000.0, 1e-9], np.float32)
core = ov.Core()


def model(*kinds: int) -> onnx.ModelProto:
    """Casts to each kind in turn; the last one is float32."""
    names = ["x", *(f"v{i}" for i in range(len(kinds) - 1)), "y"]
    nodes = [helper.make_node("Cast", [names[i]], [names[i + 1]], to=kind) for i, kind in enumerate(kinds)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "casts", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made)
    return made


print("onnx", onnx.__version__, "onnxruntime", ort.__version__, "openvino", ov.__version__)
print("expected    the three agree")
print("x                  ", x.tolist())
seen = {}
for name, kinds in {"float16": (TensorProto.FLOAT16, TensorProto.FLOAT), "bfloat16": (TensorProto.BFLOAT16, TensorProto.FLOAT)}.items():
    made = model(*kinds)
    compiled = core.compile_model(core.read_model(made.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen[name] = [
        np.asarray(ReferenceEvaluator(made).run(None, {"x": x})[0]),
        ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0],
        compiled({"x": x})[0],
    ]
    for runtime, found in zip(("reference", "ONNX Runtime", "OpenVINO"), seen[name], strict=True):
        print(f"{name:9}{runtime:12}", found.tolist())
if not np.array_equal(seen["float16"][0], seen["float16"][1]):
    raise SystemExit("CHANGED: the reference and ONNX Runtime differ")
if not np.array_equal(seen["float16"][2], x):
    raise SystemExit("CHANGED: OpenVINO rounds to float16")
print("SEEN: a graph that imitates half precision, to see what it costs, shows no cost in OpenVINO, and no overflow.")
PY
