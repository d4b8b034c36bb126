#!/usr/bin/env bash
# ONNX Runtime adds integers as doubles: ReduceSum of int64 loses the last digits above 2^53, and of int32 it stops at 2147483647.
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


def total(values: np.ndarray, kind: int) -> tuple[int, int]:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        "sum",
        [helper.make_tensor_value_info("x", kind, ["n"])],
        [helper.make_tensor_value_info("y", kind, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = ReferenceEvaluator(model).run(None, {"x": values})[0]
    return int(session.run(None, {"x": values})[0]), int(reference)


wide, wide_reference = total(np.array([2**53 + 1, 1, 1], np.int64), TensorProto.INT64)
narrow, narrow_reference = total(np.array([2**31 - 1, 1], np.int32), TensorProto.INT32)
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
print("expected    int64:", 2**53 + 3, " int32: wraps around to", -(2**31), "as its Add, CumSum and MatMul do")
print("reference   int64:", wide_reference, " int32:", narrow_reference)
print("onnxruntime int64:", wide, " int32:", narrow)
if wide_reference != 2**53 + 3 or wide == wide_reference or narrow != 2**31 - 1:
    raise SystemExit("CHANGED: integer sums are now exact")
print("SEEN: checksums and document numbers summed in a graph come out a little wrong; ReduceProd and ReduceSumSquare do the same.")
PY
