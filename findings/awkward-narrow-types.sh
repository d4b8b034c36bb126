#!/usr/bin/env bash
# awkward arrays: ak.ptp of int8 wraps in 8 bits (-28 for 228), ak.var of the same is right; float16 arrays can be made, but their sum, mean and softmax are a KeyError.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet awkward==2.14.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import awkward as ak
import numpy as np

codes = ak.values_astype(ak.Array([[100, 100, -128], [127]]), np.int8)
print({name: version(name) for name in ("awkward", "numpy")})
print("expected    the range of 100 and -128 is 228, as the sum of int8 is widened; float16 can be added, as in numpy")
ranges = ak.ptp(codes, axis=1).to_list()
print("ptp of int8:", ranges, " sum:", ak.sum(codes, axis=1).to_list(), " variance:", ak.var(codes, axis=1).to_list())
half = ak.values_astype(ak.Array([[1.0, 2.0], [3.0]]), np.float16)
seen = {}
for name, function in {"max": ak.max, "sum": ak.sum, "mean": ak.mean, "softmax": ak.softmax}.items():
    try:
        seen[name] = function(half, axis=1).to_list()
    except Exception as error:
        seen[name] = type(error).__name__
    print(f"float16 {name:8} {seen[name]}")
if ranges != [-28, 0] or [seen[n] for n in ("sum", "mean", "softmax")] != ["KeyError"] * 3:
    raise SystemExit("CHANGED: narrow types are widened")
print("SEEN: ragged token vectors kept as float16 or int8 need values_astype(..., np.float32) first; only one of the two says so.")
PY
