#!/usr/bin/env bash
# pyarrow's fixed-shape tensors with a permutation: one element's to_numpy() differs from the same element of the whole array's to_numpy_ndarray().
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pyarrow==26.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import pyarrow as pa

heads = np.arange(12, dtype=np.int8).reshape(2, 2, 3)
turned = heads.transpose(0, 2, 1)  # two tensors of shape (3, 2), as a transposed weight or attention output is
column = pa.FixedShapeTensorArray.from_numpy_ndarray(turned)
whole = column.to_numpy_ndarray()[0].tolist()
single = column[0].to_numpy().tolist()
print("pyarrow", pa.__version__, "numpy", np.__version__, "type", column.type)
print("written     ", turned[0].tolist())
print("expected     the same from both ways of reading")
print("whole array ", whole)
print("one element ", single)
if whole != turned[0].tolist() or single == whole or np.shape(single) != (3, 2):
    raise SystemExit("CHANGED: both ways of reading now give the same tensor")
print("SEEN: the shape is right and the numbers are in another order, so only a comparison of values finds it.")
PY
