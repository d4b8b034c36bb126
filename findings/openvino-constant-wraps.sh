#!/usr/bin/env bash
# OpenVINO: op.constant of floats as i8 wraps around (200 is -56) and cuts (1.7 is 1); the same call for i4 or u4 raises.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import openvino
import openvino.opset13 as op


def constant(values: list[float], kind: str) -> object:
    try:
        return op.constant(np.array(values), getattr(openvino.Type, kind)).data.tolist()
    except RuntimeError:
        return "refused"


cases = [([200.0, -200.0, 1.7, -1.7], "i8"), ([300.0, -1.0], "u8"), ([17.0, 3.0], "u4"), ([17.0, 3.0], "i4")]
seen = [constant(values, kind) for values, kind in cases]
print("openvino", openvino.__version__, "numpy", np.__version__)
print("expected    one rule for all integer types: a value out of range is refused, or saturates as openvino's Convert does")
for (values, kind), answer in zip(cases, seen, strict=True):
    print(f"{kind:3} {values!s:28} {answer}")
if seen[:2] != [[-56, 56, 1, -1], [44, 255]] or seen[2:] != ["refused"] * 2:
    raise SystemExit("CHANGED: integer constants follow one rule")
print("SEEN: weights that were scaled but not rounded and clipped become a graph of wrong codes.")
PY
