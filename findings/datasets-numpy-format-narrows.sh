#!/usr/bin/env bash
# datasets: with_format("numpy") narrows a column: uint64 becomes int64 (a hash is negative), float64 becomes float32 (1e300 is infinite), int8 becomes int64; one row of the same dataset keeps its types.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
from datasets import Dataset

warnings.simplefilter("ignore")
columns = {
    "hash": np.array([2**63 + 5, 7], np.uint64),
    "score": np.array([16777217.0, 1e300]),
    "code": np.array([-128, 127], np.int8),
}
rows = Dataset.from_dict(columns).with_format("numpy")
print({name: version(name) for name in ("datasets", "numpy")})
print("expected    each column has the type that the dataset's features name, however it is read")
print("features   ", {name: feature.dtype for name, feature in rows.features.items()})
column, batch, row = {name: rows[name][:] for name in columns}, rows[:], rows[0]
for name, values in columns.items():
    print(f"{name:6} given {values.dtype}  column {column[name].dtype} {column[name].tolist()}  batch {batch[name].dtype}  first row {row[name].dtype} {row[name]}")
if (batch["hash"] == columns["hash"]).all() or (batch["score"] == columns["score"]).all():
    raise SystemExit("CHANGED: a batch keeps uint64 and float64")
if row["hash"] != columns["hash"][0] or row["score"] != columns["score"][0] or rows.with_format("arrow")[:]["hash"].to_pylist() != columns["hash"].tolist():
    raise SystemExit("CHANGED: a single row is narrowed too")
print("SEEN: a hash used as a key is found by row and not by batch. Read such columns with with_format('arrow').")
PY
