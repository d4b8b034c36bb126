#!/usr/bin/env bash
# mlx reads FP8 (E4M3) tensors of a safetensors file as uint8 codes, without a word: the weight 1.5 is 60; E5M2 and F64 in the same file format are refused. What it saves again is U8.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet 'mlx[cpu]==0.32.4' tinygrad==0.14.0 numpy==2.4.6 ml_dtypes==0.6.0
"$tmp/venv/bin/python" - <<'PY'
import json
import struct
import tempfile
from importlib.metadata import version
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import numpy as np
from tinygrad.nn.state import safe_load

weights = np.array([1.5, -2.0, 0.25, 448.0], ml_dtypes.float8_e4m3fn)
header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
header += b" " * (-len(header) % 8)
with tempfile.TemporaryDirectory() as folder:
    path, again = Path(folder, "w.safetensors"), Path(folder, "again.safetensors")
    path.write_bytes(struct.pack("<Q", len(header)) + header + weights.tobytes())
    read = mx.load(str(path))["w"]
    mx.save_safetensors(str(again), {"w": read})
    raw = again.read_bytes()
    kept = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["w"]["dtype"]
    other = safe_load(path)["w"].to("PYTHON")
    print({name: version(name) for name in ("mlx", "tinygrad", "ml_dtypes")})
    print("expected   ", weights.astype(np.float32).tolist(), "or an error, as mlx has no FP8 arrays")
    print("tinygrad   ", other.tolist(), other.dtype)
    print("mlx        ", read.tolist(), read.dtype, "saved again as", kept)
    if read.tolist() != weights.view(np.uint8).tolist() or kept != "U8" or other.tolist() != weights.tolist():
        raise SystemExit("CHANGED: mlx reads FP8 as numbers, or refuses it")
print("SEEN: mx.from_fp8 turns the codes into numbers, for those who look at the header of the file first.")
PY
