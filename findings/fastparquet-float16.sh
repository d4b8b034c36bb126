#!/usr/bin/env bash
# Embeddings stored as float16 in Parquet: fastparquet reads them as two raw bytes each, not as numbers.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet fastparquet==2026.9.0 pyarrow==26.0.1
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import fastparquet
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "e.parquet")
    pq.write_table(pa.table({"e": pa.array(np.array([0.5, 1, 2], np.float16))}), path)
    arrow = pq.read_table(path)["e"].to_pylist()
    fast = fastparquet.ParquetFile(path).to_pandas()["e"].tolist()
print("pyarrow", pa.__version__, "fastparquet", fastparquet.__version__)
print("expected    [0.5, 1.0, 2.0], or an error for a logical type that is not known")
print("pyarrow    ", arrow)
print("fastparquet", fast)
if arrow != [0.5, 1, 2] or fast != [np.float16(v).tobytes() for v in arrow]:
    raise SystemExit("CHANGED: fastparquet now reads the FLOAT16 logical type (or refuses it)")
print("SEEN: a column of bytes objects, and the code fails far from the reader.")
PY
