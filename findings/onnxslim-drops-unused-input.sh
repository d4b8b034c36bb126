#!/usr/bin/env bash
# onnxslim removes an input that the graph does not use (token_type_ids of XLM-R exports): the client that sends it is refused. onnxsim and onnxoptimizer keep it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxslim==0.1.98 onnxsim==0.8.1 onnxoptimizer==0.4.2
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
import onnxoptimizer
import onnxruntime
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper

names = ["input_ids", "attention_mask", "token_type_ids"]
graph = helper.make_graph(
    [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows", "mask"], ["y"]),
    ],
    "encoder",
    [helper.make_tensor_value_info(name, TensorProto.INT64, ["s"]) for name in names],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["s"])],
    [numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
copy = onnx.ModelProto.FromString(model.SerializeToString())
slim = onnxslim.slim(copy)
kept = {
    "onnxslim": [i.name for i in slim.graph.input],
    "onnxsim": [i.name for i in onnxsim.simplify(model)[0].graph.input],
    "onnxoptimizer": [i.name for i in onnxoptimizer.optimize(model).graph.input],
}
feeds = {name: np.ones(2, np.int64) for name in names}
session = onnxruntime.InferenceSession(slim.SerializeToString(), providers=["CPUExecutionProvider"])
try:
    answer = session.run(None, feeds)
except Exception as error:
    answer = f"{type(error).__name__}: {error}"
print({name: version(name) for name in kept}, "onnxruntime", onnxruntime.__version__)
print("expected    three inputs from each tool: inputs and outputs are the contract of a model")
print("seen       ", kept)
print("the client ", answer)
if kept["onnxslim"] != names[:2] or kept["onnxsim"] != names or "token_type_ids" not in str(answer):
    raise SystemExit("CHANGED: onnxslim now keeps unused inputs")
print("SEEN: the slimmed model passes its own check and fails behind every tokenizer that returns token_type_ids.")
PY
