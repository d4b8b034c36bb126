#!/usr/bin/env bash
# safetensors.numpy writes the buffer of a non-contiguous array as it lies in memory: a transposed weight comes back scrambled.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 safetensors==0.8.0
"$tmp/venv/bin/python" - <<'PY'
import safetensors
import numpy as np
from safetensors.numpy import load, save

x = np.arange(6, dtype=np.float32).reshape(2, 3)
cases = {"transposed": x.T, "every second column": np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2], "Fortran order": np.asfortranarray(x)}
print("numpy", np.__version__, "safetensors", safetensors.__version__)
print("expected    load(save(a)) equals a, or an error as safetensors.torch gives for such tensors")
wrong = 0
for name, a in cases.items():
    back = load(save({"a": a}))["a"]
    wrong += back.shape == a.shape and not np.array_equal(back, a)
    print(f"{name:20s} saved {a.tolist()} loaded {back.tolist()}")
if wrong != len(cases):
    raise SystemExit("CHANGED: non-contiguous arrays are now saved right or refused")
print("SEEN: shape and dtype are right, the values are not. Call numpy.ascontiguousarray first (a Linear weight is often transposed).")
PY
