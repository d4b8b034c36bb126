#!/usr/bin/env bash
# bfloat16 and FP8 arrays (ml_dtypes) in .npy, .npz, HDF5 and Polygraphy's JSON: written with no complaint, read back as raw bytes (|V2).
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 ml_dtypes==0.6.0 h5py==3.16.0 polygraphy==0.53.6
"$tmp/venv/bin/python" - <<'PY'
import io
import os
import tempfile

import h5py
import ml_dtypes
import numpy as np
import polygraphy
from polygraphy.json import from_json, to_json


def read_back(array: np.ndarray) -> dict[str, np.dtype]:
    plain, several = io.BytesIO(), io.BytesIO()
    np.save(plain, array)
    np.savez(several, a=array)
    plain.seek(0)
    several.seek(0)
    with tempfile.TemporaryDirectory() as folder, h5py.File(os.path.join(folder, "a.h5"), "w") as file:
        file["a"] = array
        stored = file["a"][:]
    return {"npy": np.load(plain).dtype, "npz": np.load(several)["a"].dtype, "hdf5": stored.dtype, "polygraphy": from_json(to_json(array)).dtype}


seen = {kind.__name__: read_back(np.array([1.5, 2], kind)) for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)}
print("numpy", np.__version__, "ml_dtypes", ml_dtypes.__version__, "h5py", h5py.__version__, "polygraphy", polygraphy.__version__)
print("expected    the type that was written, or an error while writing (as zarr gives)")
for kind, types in seen.items():
    print(f"{kind:14}", {name: str(dtype) for name, dtype in types.items()})
if any(dtype.kind != "V" or dtype.names or dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn) for types in seen.values() for dtype in types.values()):
    raise SystemExit("CHANGED: the type now survives (or is refused)")
print("SEEN: calibration data saved for later cannot be added or compared; array.view(ml_dtypes.bfloat16) rescues it if the type is known.")
PY
