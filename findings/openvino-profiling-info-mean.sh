#!/usr/bin/env bash
# OpenVINO CPU: profiling_info is the mean over all inferences since compile_model, not the times of the last one.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import openvino
from openvino import opset13 as op

rows = op.parameter([-1, 256], np.float32)
product = op.matmul(rows, op.constant(np.ones((256, 256), np.float32)), False, False)
model = openvino.Model([op.result(op.softmax(product, 1))], [rows], "m")
options = {"PERF_COUNT": True, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}


def microseconds(request) -> float:
    return sum(node.real_time.total_seconds() * 1e6 for node in request.profiling_info)


compiled = openvino.Core().compile_model(model, "CPU", options)
request = compiled.create_infer_request()
request.infer({0: np.ones((6000, 256), np.float32)})
large = microseconds(request)
for _ in range(9):
    request.infer({0: np.ones((1, 256), np.float32)})
mixed = microseconds(request)
fresh = compiled.create_infer_request()
fresh.infer({0: np.ones((1, 256), np.float32)})
other = microseconds(fresh)

alone = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
for _ in range(10):
    alone.infer({0: np.ones((1, 256), np.float32)})
small = microseconds(alone)
print("openvino", openvino.__version__)
print("expected    after infer(), profiling_info holds what that inference took, as latency does")
print(f"seen        6000 rows: {large:.0f} us; after nine inferences of one row: {mixed:.0f} us; a new request, one row: {other:.0f} us")
print(f"            one row in a program that never saw more: {small:.0f} us")
if mixed < 5 * max(small, 1) or other < 5 * max(small, 1) or mixed > large / 4:
    raise SystemExit("CHANGED: profiling_info is of the last inference")
print("SEEN: a profile by batch size needs differences of mean x count, or a program for each size; a warm-up stays in for ever.")
PY
