#!/usr/bin/env bash
# deltalake: bytes of uint8 in a fixed-size list (packed binary embeddings) are written as null where they are above 127, as Delta has signed numbers only; no error, while a plain column and a list of any length with the same values are refused.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet deltalake==1.6.6 pyarrow==26.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

print("deltalake", version("deltalake"), "pyarrow", version("pyarrow"))
print("expected    the bytes come back, or the write is refused")
signs = np.array([[1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
codes = np.packbits(signs, axis=1)  # two embeddings of 16 dimensions, one bit each
columns = {
    "plain column": pa.array(codes[:, 0]),
    "list": pa.array(codes.tolist(), pa.list_(pa.uint8())),
    "fixed-size list": pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), 2),
}
seen = {}
for name, column in columns.items():
    folder = tempfile.mkdtemp()
    try:
        deltalake.write_deltalake(folder, pa.table({"v": column}))
    except deltalake.exceptions.DeltaError as error:
        seen[name] = "refused"
        print(f"{name:16}", column.to_pylist(), "refused:", str(error).rsplit(":", 1)[-1].strip())
        continue
    seen[name] = deltalake.DeltaTable(folder).to_pyarrow_table()["v"].to_pylist()
    print(f"{name:16}", column.to_pylist(), "read back", seen[name])
    (file,) = Path(folder).glob("*.parquet")
    print(f"{'':16} its Parquet file holds", pq.read_table(file)["v"].to_pylist())
if seen["plain column"] != "refused" or seen["list"] != "refused":
    raise SystemExit("CHANGED: a plain column or a list is not refused")
if seen["fixed-size list"] != [[None, 5], [127, None]]:
    raise SystemExit("CHANGED: the fixed-size list does not lose its bytes above 127")
print("SEEN: half of the bytes of a binary embedding are gone for good, with no message. Store them as binary, or as int8 (the same bits).")
PY
