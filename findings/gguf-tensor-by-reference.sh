#!/usr/bin/env bash
# gguf: GGUFWriter.add_tensor keeps a reference and writes later: layers passed through one reused buffer are all written as the last one.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet gguf==0.19.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import numpy as np
from gguf import GGUFReader, GGUFWriter

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.gguf")
    writer = GGUFWriter(path, "bert")
    buffer = np.empty(2, np.float32)
    for layer in range(3):
        buffer[:] = layer  # dequantised into the same memory
        writer.add_tensor(f"blk.{layer}.w", buffer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    seen = {tensor.name: tensor.data.tolist() for tensor in GGUFReader(path).tensors}
print("gguf", version("gguf"), "numpy", np.__version__)
print("expected    [0, 0], [1, 1], [2, 2]")
print("seen       ", seen)
if list(seen.values()) != [[2.0, 2.0]] * 3:
    raise SystemExit("CHANGED: add_tensor now copies")
print("SEEN: a file of the right size and shapes in which every layer is the last one.")
PY
