#!/usr/bin/env bash
# polars: mean_horizontal of Int8 columns adds in 8 bits: the mean of 100 and 100 is -28. list.mean and arr.sum of the same numbers are right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet polars==2.1.0
"$tmp/venv/bin/python" - <<'PY'
import polars as pl

frame = pl.DataFrame({"a": [100, 100], "b": [100, 50]}, schema={"a": pl.Int8, "b": pl.Int8})
across = frame.select(mean=pl.mean_horizontal("a", "b"), sum=pl.sum_horizontal("a", "b"))
rows = pl.Series([[100, 100], [100, 50]], dtype=pl.Array(pl.Int8, 2))
lists = rows.cast(pl.List(pl.Int8))
print("polars", pl.__version__)
print("expected    means [100.0, 75.0], sums [200, 150]")
print("seen        mean_horizontal", across["mean"].to_list(), across["mean"].dtype, " sum_horizontal", across["sum"].to_list(), across["sum"].dtype)
print("            list.mean", lists.list.mean().to_list(), " arr.sum", rows.arr.sum().to_list(), " Series.mean", frame["a"].mean())
if across["mean"].to_list() != [-28.0, -53.0] or lists.list.mean().to_list() != [100.0, 75.0] or rows.arr.sum().to_list() != [200, 150]:
    raise SystemExit("CHANGED: mean_horizontal now widens Int8")
print("SEEN: a mean of ratings or INT8 codes over columns lies outside of them; the result is Float64, so nothing looks narrow.")
PY
