#!/usr/bin/env bash
# onnxruntime.quantization: with CalibMaxIntermediateOutputs the min-max calibration throws each full block of batches away: the scale is that of the batches left over, up to hundreds of times too small.
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
batches = [(rng.normal(size=(8, 4)) * size).astype(np.float32) for size in (0.01, 1, 5, 1, 2)]
print("expected    the documentation: the same result with CalibMaxIntermediateOutputs as without")
whole = scale(batches)
ascending, descending = scale(batches, CalibMaxIntermediateOutputs=2), scale(batches[::-1], CalibMaxIntermediateOutputs=2)
last, first = scale(batches[-1:]), scale(batches[:1])
print(f"all 5 batches                 scale {whole:.6f}")
print(f"at most 2 outputs at a time   scale {ascending:.6f}, the batches reversed {descending:.6f}")
print(f"the last batch alone          scale {last:.6f}, the first alone {first:.6f}")
if np.isclose(ascending, whole) and np.isclose(descending, whole):
    raise SystemExit("CHANGED: the option does not change the range")
if not (np.isclose(ascending, last) and np.isclose(descending, first)):
    raise SystemExit("CHANGED: the range is of other batches than the last one")
print("SEEN: what does not fit in is forgotten, so INT8 saturates almost every activation. Use CalibStridedMinMax instead.")
PY
