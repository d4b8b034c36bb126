#!/usr/bin/env bash
# numcodecs (zarr's filters): FixedScaleOffset with astype="i1" wraps around: with scale 10 the value 12.8 comes back as -12.8.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numcodecs==0.16.6 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numcodecs
import numpy as np

warnings.simplefilter("ignore")
codec = numcodecs.FixedScaleOffset(offset=0, scale=10, dtype="f4", astype="i1")
values = np.array([1.0, 12.7, 12.8, 20.0, -20.0], np.float32)
seen = codec.decode(codec.encode(values)).round(3).tolist()
cast = numcodecs.AsType(encode_dtype="i1", decode_dtype="f4")
print("numcodecs", numcodecs.__version__, "numpy", np.__version__)
print("expected    [1.0, 12.7, 12.7, 12.7, -12.8]: a quantiser saturates, or an error")
print("seen       ", seen, " AsType of 200:", cast.decode(cast.encode(np.array([200.0], np.float32))).tolist())
if not np.allclose(seen, [1.0, 12.7, -12.8, -5.6, 5.6]):
    raise SystemExit("CHANGED: values outside of the range no longer wrap around")
print("SEEN: one outlier changes its sign in an embedding store; the data is only found wrong where it is read back.")
PY
