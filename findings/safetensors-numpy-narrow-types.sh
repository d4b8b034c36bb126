#!/usr/bin/env bash
# safetensors.numpy saves bfloat16 and FP8 arrays; load() reads back neither, load_file() only bfloat16.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 safetensors==0.8.0 ml_dtypes==0.6.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load, load_file, save


def attempt(read, argument):
    try:
        return "ok" if np.array_equal(read(argument)["a"].astype(np.float32), np.arange(8)) else "wrong values"
    except (KeyError, AttributeError) as error:
        return f"{type(error).__name__} ({error})"


print("numpy", np.__version__, "safetensors", safetensors.__version__, "ml_dtypes", ml_dtypes.__version__)
print("expected    what can be saved can be loaded, from memory and from a file alike")
seen = {}
with tempfile.TemporaryDirectory() as folder:
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        data = save({"a": np.arange(8).astype(getattr(ml_dtypes, name))})
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(data)
        seen[name] = (attempt(load, data), attempt(load_file, path))
        print(f"{name:14s} load: {seen[name][0]}; load_file: {seen[name][1]}")
fp8 = [v for k, v in seen.items() if k != "bfloat16"]
if not seen["bfloat16"][0].startswith("KeyError") or any(v[0] == "ok" or v[1] == "ok" for v in fp8):
    raise SystemExit("CHANGED: numpy now loads the narrow types from memory, or FP8 from a file")
print("SEEN: narrow weights written from numpy can need another library to read them back.")
PY
