#!/usr/bin/env bash
# The mean of 1000 ones in ml_dtypes' bfloat16 is 0.2559: the sum stands still at 256. float16 of numpy gives 1.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 ml_dtypes==0.6.0
"$tmp/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np

ones = np.ones(1000, ml_dtypes.bfloat16)
total, mean = float(ones.sum()), float(ones.mean())
half = float(np.ones(1000, np.float16).mean())
wide = float(ones.sum(dtype=np.float32))
product = float((ones[None] @ ones[:, None])[0, 0])
print("numpy", np.__version__, "ml_dtypes", ml_dtypes.__version__)
print("expected    sum 1000, mean 1 (numpy adds float16 in pairs and in float32)")
print(f"bfloat16    sum {total}, mean {mean}; with dtype=float32 sum {wide}; matrix product {product}")
print(f"float16     mean {half}")
if total != 256 or mean > 0.3 or half != 1 or wide != 1000 or product != 1000:
    raise SystemExit("CHANGED: numpy now sums bfloat16 with a wider accumulator (or the others changed)")
print("SEEN: mean pooling of bfloat16 hidden states over a long text is wrong by a factor; give dtype=float32.")
PY
