#!/usr/bin/env bash
# onnxruntime.quantization: an infinity in a weight or in one calibration sample is accepted and gives the scale infinity (all codes 0); NaN in a weight is refused.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import logging
import os
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


class Samples(CalibrationDataReader):
    def __init__(self, rows: list[np.ndarray]) -> None:
        self.rows = iter(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self.rows, None)
        return None if row is None else {"x": row}


def scales(weight: np.ndarray, samples: list[np.ndarray] | None) -> object:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        before, after = os.path.join(folder, "a.onnx"), os.path.join(folder, "b.onnx")
        onnx.save(model, before)
        try:
            if samples is None:
                quantize_dynamic(before, after)
            else:
                quantize_static(before, after, Samples(samples))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return {i.name: float(numpy_helper.to_array(i).ravel()[0]) for i in onnx.load(after).graph.initializer if "scale" in i.name}


good = np.array([[1, 2], [3, 4]], np.float32)
bad = good.copy()
bad[0, 0] = np.inf
broken = good.copy()
broken[0, 0] = np.nan
seen = {
    "weight with infinity": scales(bad, None),
    "weight with NaN": scales(broken, None),
    "one sample of three with infinity": scales(good, [good, bad, good]),
    "one sample of three with NaN": scales(good, [good, broken, good]),
}
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
print("expected    an error for what no scale can hold")
for name, value in seen.items():
    print(f"{name:34}", value)
if not isinstance(seen["weight with infinity"], dict) or seen["weight with infinity"]["w_scale"] != np.inf or "AssertionError" not in str(seen["weight with NaN"]):
    raise SystemExit("CHANGED: an infinite weight is now refused")
if seen["one sample of three with infinity"]["x_scale"] != np.inf or seen["one sample of three with NaN"]["x_scale"] > 1:
    raise SystemExit("CHANGED: an infinite calibration sample is now refused")
print("SEEN: one overflow in a float16 checkpoint or in a calibration batch makes a model that loads and answers with NaN or zeros.")
PY
