#!/usr/bin/env bash
# pyarrow: a safe cast to float16 is not checked: 2049 becomes 2048 and 70000 infinity, where 16777217 to float32 raises; the error of a cast from float16 names the bits.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pyarrow==26.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import pyarrow as pa


def cast(values: pa.Array, kind: pa.DataType) -> object:
    try:
        return values.cast(kind).to_pylist()[0]
    except pa.ArrowInvalid as error:
        return str(error)


seen = [
    cast(pa.array([2**24 + 1]), pa.float32()),
    cast(pa.array([2049]), pa.float16()),
    cast(pa.array([70000]), pa.float16()),
    cast(pa.array(np.array([1.5], np.float32)), pa.int8()),
    cast(pa.array(np.array([1.5], np.float16)), pa.int8()),
]
print("pyarrow", pa.__version__, "numpy", np.__version__)
print("expected    a cast is safe unless safe=False: an integer that the float type does not have raises")
for case, answer in zip(("16777217 to float32", "2049 to float16", "70000 to float16", "float32 1.5 to int8", "float16 1.5 to int8"), seen, strict=True):
    print(f"{case:20}", answer)
if "not in range" not in str(seen[0]) or seen[1:3] != [2048.0, float("inf")] or "15872" not in str(seen[4]):
    raise SystemExit("CHANGED: casts to float16 are checked, or the error names the value")
print("SEEN: token ids or counts put into a float16 column lose digits, and the message about 1.5 speaks of 15872.")
PY
