#!/usr/bin/env bash
# OpenVINO's Python API hands out a bfloat16 output as a float16 array: the bits are not converted, so 1.5 reads as 1.9375.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import openvino
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
    "bf16",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n"])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
core = openvino.Core()
compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
seen = compiled({"x": np.array([1.5, 2.0, 100.0], np.float32)})[0]
bits = np.asarray(seen).view(np.uint16).astype(np.uint32) << 16
print("openvino", openvino.__version__, "output type of the model", compiled.output(0).element_type)
print("expected    [1.5, 2.0, 100.0] in a wider type, a bfloat16 array, or an error")
print("seen       ", seen.dtype, seen.tolist(), "; the same bits read as bfloat16:", bits.view(np.float32).tolist())
if seen.dtype != np.float16 or seen.tolist() == [1.5, 2.0, 100.0] or bits.view(np.float32).tolist() != [1.5, 2.0, 100.0]:
    raise SystemExit("CHANGED: a bfloat16 output is now converted or has its own type")
print("SEEN: embeddings of a model that was converted to bfloat16 keep their shape and look plausible (all near 2).")
PY
