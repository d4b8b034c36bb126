#!/usr/bin/env bash
# polars: Int8 columns are summed in 64 bits, but their dot product wraps in 8 bits; an Int32 sum wraps too.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet polars==2.1.0
"$tmp/venv/bin/python" - <<'PY'
import polars as pl

codes = pl.DataFrame({"a": [100, 100], "b": [100, 100]}, schema={"a": pl.Int8, "b": pl.Int8})
total = codes["a"].sum()
dot = codes.select(pl.col("a").dot("b")).item()
wide = codes.select(pl.col("a").cast(pl.Int32).dot(pl.col("b").cast(pl.Int32))).item()
counts = pl.Series([2**31 - 1, 1], dtype=pl.Int32).sum()
print("polars", pl.__version__)
print("expected    sum 200, dot 20000, Int32 sum 2147483648: small integers are widened before a reduction")
print(f"seen        sum {total}, dot {dot}, dot after a cast to Int32 {wide}, Int32 sum {counts}")
if total != 200 or dot == 20000 or wide != 20000 or counts == 2**31:
    raise SystemExit("CHANGED: polars now widens Int8 in dot or Int32 in sum")
print("SEEN: similarity of INT8 embeddings and token counts of a large corpus overflow with no message.")
PY
