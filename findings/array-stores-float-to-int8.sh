#!/usr/bin/env bash
# Writing floats into an int8 array on disk: h5py saturates (200.7 is 127), zarr wraps around (-56), for the same assignment.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet h5py==3.16.0 zarr==3.1.6 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
import warnings

import h5py
import numpy as np
import zarr

warnings.simplefilter("ignore")
values = np.array([200.7, -200.7, 2.5, -2.5], np.float32)
with tempfile.TemporaryDirectory() as folder:
    with h5py.File(os.path.join(folder, "a.h5"), "w") as file:
        first = file.create_dataset("codes", (4,), "i1")
        first[:] = values
        hdf5 = first[:].tolist()
    second = zarr.create_array(os.path.join(folder, "a.zarr"), shape=(4,), dtype="int8")
    second[:] = values
    zarred = second[:].tolist()
print("h5py", h5py.__version__, "zarr", zarr.__version__, "numpy", np.__version__)
print("expected    one result from both")
print("h5py", hdf5, " zarr", zarred)
if hdf5 != [127, -128, 2, -2] or zarred != [-56, 56, 2, -2]:
    raise SystemExit("CHANGED: the two stores now agree on values outside of int8")
print("SEEN: a quantiser that leaves the clip to the store works with one file format and turns outliers over with the other.")
PY
