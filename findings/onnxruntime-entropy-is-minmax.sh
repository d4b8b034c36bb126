#!/usr/bin/env bash
# onnxruntime.quantization: CalibrationMethod.Entropy gives quantize_static the scale of min-max: it has as many bins as levels (128), so nothing is ever cut off; with 2048 bins an outlier is.
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
batch = rng.normal(size=(20000, 4)).astype(np.float32)
batch[0, 0] = 100  # one outlier of 80000 values; all others lie within 5
print("expected    the entropy method cuts the outlier off and gives a finer scale than min-max")
scales = {method.name: scale([batch], method) for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy)}
print({name: round(value, 6) for name, value in scales.items()}, "range / 255 is", round(float(np.ptp(batch)) / 255, 6))
from onnxruntime.quantization.calibrate import EntropyCalibrater

calibrator = EntropyCalibrater(folder / "in.onnx", ["MatMul"], folder / "aug.onnx", num_bins=2048, num_quantized_bins=128)
calibrator.augment_graph()
calibrator.create_inference_session()
calibrator.collect_data(Reader([batch]))
high = float(np.ravel(calibrator.compute_data()["x"].range_value[1])[0])
print(f"with 2048 bins by the calibrator's own class the range ends at {high:.2f}")
if high > 20:
    raise SystemExit("CHANGED: 2048 bins keep the outlier too")
if not np.isclose(scales["Entropy"], scales["MinMax"]):
    raise SystemExit("CHANGED: the entropy method no longer answers as min-max")
print("SEEN: its 128 bins are as many as the 128 levels, so there is one range to choose from; quantize_static has no option for them.")
PY
