#!/usr/bin/env bash
# onnxruntime.quantization: CalibMovingAverageConstant has no effect in quantize_static: CalibMovingAverage gives the plain mean of the batches' extremes, whatever the constant and the order.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static

folder = Path(tempfile.mkdtemp())
value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "g",
    [value("x", TensorProto.FLOAT, ["n", 4])],
    [value("y", TensorProto.FLOAT, ["n", 4])],
    [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "in.onnx")


class Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.left = iter([{"x": batch} for batch in batches])

    def get_next(self):
        return next(self.left, None)


def scale(batches, method=CalibrationMethod.MinMax, **options):
    """The scale that quantize_static gives to the input of the product."""
    quantize_static(
        folder / "in.onnx", folder / "out.onnx", Reader(batches), calibrate_method=method, extra_options=options
    )
    model = onnx.load(folder / "out.onnx")
    return next(float(numpy_helper.to_array(t)) for t in model.graph.initializer if t.name == "x_scale")


rng = np.random.default_rng(0)
print({name: version(name) for name in ("onnx", "onnxruntime", "numpy")})
batches = [np.full((1, 4), size, np.float32) * [1, -1, 1, -1] for size in (1.0, 1.0, 1.0, 9.0)]
batches = [batch.astype(np.float32) for batch in batches]
print("expected    a moving average with constant c moves by c towards each batch: 0.01 stays near 1, 0.9 comes near 9")
scales = {c: scale(batches, CalibMovingAverage=True, CalibMovingAverageConstant=c) for c in (0.01, 0.1, 0.5, 0.9)}
back = scale(batches[::-1], CalibMovingAverage=True, CalibMovingAverageConstant=0.9)
want = {}
for c in scales:
    high = 1.0
    for size in (1.0, 1.0, 9.0):
        high += c * (size - high)
    want[c] = high
for c, found in scales.items():
    print(f"constant {c:4}: range ends at {found * 127.5:.3f}, by the formula {want[c]:.3f}")
print(f"constant  0.9, the batches reversed: {back * 127.5:.3f}; the plain mean of the four is 3")
if len({round(found, 7) for found in scales.values()}) > 1 or not np.isclose(back, scales[0.9]):
    raise SystemExit("CHANGED: the constant or the order has an effect")
if not np.isclose(scales[0.9] * 127.5, 3.0, atol=0.05):
    raise SystemExit("CHANGED: the range is not the mean over the batches")
print("SEEN: the constant is read only when the ranges of several calls are merged; quantize_static makes one call.")
PY
