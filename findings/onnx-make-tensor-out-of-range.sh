#!/usr/bin/env bash
# onnx.helper.make_tensor outside a type's range: INT8 raises, INT4 wraps around, FLOAT16 is infinity, FP8 saturates; floats for INT8 are cut.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

warnings.simplefilter("ignore")


def made(kind: int, values: list[float]) -> list[float] | str:
    try:
        return numpy_helper.to_array(helper.make_tensor("t", kind, [len(values)], values)).astype(np.float32).tolist()
    except Exception as error:
        return type(error).__name__


seen = {
    "INT8 200": made(TensorProto.INT8, [200]),
    "INT8 1.9, -1.9": made(TensorProto.INT8, [1.9, -1.9]),
    "INT4 9, -9": made(TensorProto.INT4, [9, -9]),
    "UINT4 17": made(TensorProto.UINT4, [17]),
    "FLOAT16 70000": made(TensorProto.FLOAT16, [70000.0]),
    "FLOAT8E4M3FN 1000": made(TensorProto.FLOAT8E4M3FN, [1000.0]),
}
print("onnx", onnx.__version__, "numpy", np.__version__)
print("expected    one rule for all: an error, or the nearest value that the type holds")
for name, value in seen.items():
    print(f"{name:18}", value)
if list(seen.values()) != ["OverflowError", [1.0, -1.0], [-7.0, 7.0], [1.0], [float("inf")], [448.0]]:
    raise SystemExit("CHANGED: make_tensor treats values outside the range in another way")
print("SEEN: an INT4 weight one step above the top becomes the most negative one; who tested the code with INT8 saw an error instead.")
PY
