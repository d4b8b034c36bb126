#!/usr/bin/env bash
# nncf: compress_weights changes the OpenVINO model that it is given; nncf.quantize returns a copy and leaves it alone.
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


def build():
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, 64], np.float32)
    y = ops.matmul(x, ops.constant(rng.standard_normal((64, 64)).astype(np.float32)), False, True)
    return openvino.Model([ops.result(y)], [x], "linear")


def weights(model):
    return sorted({n.get_element_type().get_type_name() for n in model.get_ops() if n.get_type_name() == "Constant"})


first, second = build(), build()
compressed = nncf.compress_weights(first)
quantised = nncf.quantize(second, nncf.Dataset([np.ones((4, 64), np.float32)]))
print("nncf", nncf.__version__, "openvino", openvino.__version__)
print("expected    both leave their input alone (constants: f32)")
print("compress_weights: same object", compressed is first, "| input now", weights(first))
print("quantize:         same object", quantised is second, "| input now", weights(second))
if compressed is not first or "f32" in weights(first) or quantised is second or weights(second) != ["f32"]:
    raise SystemExit("CHANGED: the two calls now treat their input alike")
print("SEEN: a comparison with the original after compress_weights compares the model with itself; clone it first.")
PY
