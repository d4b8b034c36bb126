#!/usr/bin/env bash
# OpenVINO with INFERENCE_PRECISION_HINT=f32 still rounds the activations to 8 bits in front of compressed weights.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet nncf==3.4.0 openvino==2026.4.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import nncf
import numpy as np
import openvino
from openvino import opset13 as ops

rng = np.random.default_rng(0)
x = ops.parameter([-1, 256], np.float32)
y = ops.matmul(x, ops.constant(rng.standard_normal((256, 256)).astype(np.float32)), False, True)
model = nncf.compress_weights(openvino.Model([ops.result(y)], [x], "linear"))  # weights only, by its name
data = rng.standard_normal((8, 256)).astype(np.float32)
core = openvino.Core()


def run(**extra):
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **extra})
    return compiled(data)[0], compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE")


plain, group = run()
exact, _ = run(DYNAMIC_QUANTIZATION_GROUP_SIZE=0)
accurate, _ = run(EXECUTION_MODE_HINT="ACCURACY")
error = float(np.linalg.norm(plain - exact) / np.linalg.norm(exact))
other = float(np.linalg.norm(accurate - exact) / np.linalg.norm(exact))
print("nncf", nncf.__version__, "openvino", openvino.__version__)
print("expected    float32 activations with the f32 hint: error about 1e-7")
print(f"seen        error {error:.1e} (group size {group} by default); with EXECUTION_MODE_HINT=ACCURACY {other:.1e}")
if error < 1e-3 or other > 1e-5:
    raise SystemExit("CHANGED: the f32 hint now keeps float activations (or this CPU has no 8-bit path for it)")
print("SEEN: measure weight compression with DYNAMIC_QUANTIZATION_GROUP_SIZE=0, or the loss is not that of the weights.")
PY
