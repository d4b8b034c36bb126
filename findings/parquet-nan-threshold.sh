#!/usr/bin/env bash
# "score > 0.5" on one Parquet file: pyarrow drops the row whose score is NaN, polars and DuckDB keep it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "s.parquet")
    pq.write_table(pa.table({"score": pa.array([0.9, 0.1, float("nan"), None], pa.float32())}), path)
    counts = {
        "pyarrow": pq.read_table(path, filters=[("score", ">", 0.5)]).num_rows,
        "polars": pl.scan_parquet(path).filter(pl.col("score") > 0.5).collect().height,
        "duckdb": duckdb.sql(f"select count(*) from '{path}' where score > 0.5").fetchall()[0][0],
    }
print("pyarrow", pa.__version__, "polars", pl.__version__, "duckdb", duckdb.__version__)
print("expected    1 row from each: a comparison with NaN is false")
print("seen       ", counts)
if counts != {"pyarrow": 1, "polars": 2, "duckdb": 2}:
    raise SystemExit("CHANGED: the readers no longer differ on NaN in a comparison")
print("SEEN: a mined pair whose cosine is NaN (a zero vector) passes the filter in two of three tools.")
PY
