#!/usr/bin/env bash
# OpenVINO CPU: the zero point behind an INT8 GELU is a number in the kernel, so each layer keeps a kernel for each batch size.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
cat > "$tmp/grow.py" <<'PY'
import sys

import numpy as np
import openvino
from openvino import opset13 as op

LAYERS, WIDTH, SIZES = 12, 64, 100


def quantize(value, zero_point: float):
    low, high = np.float32(-zero_point * 0.02), np.float32((255 - zero_point) * 0.02)
    return op.fake_quantize(value, low, high, low, high, 256)


def resident() -> float:
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


step = float(sys.argv[1])
chance = np.random.default_rng(0)
rows = op.parameter([-1, WIDTH], np.float32)
value = rows
for layer in range(LAYERS):
    codes = op.constant(chance.integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8))
    weight = op.multiply(op.convert(codes, np.float32), op.constant(np.full((1, WIDTH), 0.01, np.float32)))
    zero_point = 40.0 + step * layer
    value = op.gelu(op.matmul(quantize(value, zero_point), weight, False, False), "erf")
model = openvino.Model([op.result(quantize(value, zero_point))], [rows], "m")
options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
compiled = openvino.Core().compile_model(model, "CPU", options)
compiled(np.zeros((7, WIDTH), np.float32))
before = resident()
for size in range(100, 100 + SIZES):
    compiled(np.zeros((size, WIDTH), np.float32))
print((resident() - before) / SIZES)
PY
one=$("$tmp/venv/bin/python" "$tmp/grow.py" 0)
unlike=$("$tmp/venv/bin/python" "$tmp/grow.py" 3)
"$tmp/venv/bin/python" - "$one" "$unlike" <<'PY'
import sys

import openvino

one, unlike = map(float, sys.argv[1:])
print("openvino", openvino.__version__)
print("expected    12 INT8 layers of one shape share one kernel for each number of rows")
print(f"seen        memory for each new number of rows: one zero point {one:.2f} MiB, unlike zero points {unlike:.2f} MiB")
if unlike < 2 * one or unlike < 1:
    raise SystemExit("CHANGED: layers with unlike zero points share their kernels")
print("SEEN: asymmetric ranges and ever new batch sizes let a server grow by gigabytes; round the sizes up.")
PY
