#!/usr/bin/env bash
# safetensors: get_slice takes [-1], but [-2:] and [:-1] are an OverflowError; an end beyond the last row raises too.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 safetensors==0.8.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

table = np.arange(12, dtype=np.float32).reshape(3, 4)
cases = {
    "[-1]": np.s_[-1],
    "[::2]": np.s_[::2],
    "[-2:]": np.s_[-2:],
    "[:-1]": np.s_[:-1],
    "[0:10]": np.s_[0:10],
}
seen = {}
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.safetensors")
    save_file({"w": table}, path)
    with safe_open(path, "np") as file:
        rows = file.get_slice("w")
        for name, index in cases.items():
            try:
                seen[name] = "as numpy" if np.array_equal(rows[index], table[index]) else "other rows"
            except Exception as error:
                seen[name] = type(error).__name__
print("safetensors", version("safetensors"), "numpy", np.__version__)
print("expected    the rows that numpy gives for the same index")
print("seen       ", seen)
if seen["[-1]"] != "as numpy" or seen["[::2]"] != "as numpy" or seen["[-2:]"] != "OverflowError" or seen["[0:10]"] == "as numpy":
    raise SystemExit("CHANGED: ranges are read as numpy reads them")
print("SEEN: a table read in blocks fails at its last, shorter block; cut the range to the shape yourself.")
PY
