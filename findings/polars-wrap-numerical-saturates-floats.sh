#!/usr/bin/env bash
# polars: cast(..., wrap_numerical=True) wraps integers around, but saturates floats: 200 becomes -56, 200.0 becomes 127.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet polars==2.1.0
"$tmp/venv/bin/python" - <<'PY'
import polars as pl

whole = pl.Series([200, -200], dtype=pl.Int32).cast(pl.Int8, wrap_numerical=True).to_list()
real = pl.Series([200.0, -200.0], dtype=pl.Float32).cast(pl.Int8, wrap_numerical=True).to_list()
nothing = pl.Series([float("nan")], dtype=pl.Float32).cast(pl.Int8, wrap_numerical=True).to_list()
print("polars", pl.__version__)
print("expected    [-56, 56] twice: the argument promises that values out of range wrap, and NaN cannot be a number")
print("seen        Int32", whole, " Float32", real, " NaN", nothing)
if whole != [-56, 56] or real != [127, -128] or nothing != [0]:
    raise SystemExit("CHANGED: the two casts now follow one rule")
print("SEEN: quantised codes are right or wrong by the type they came in; NaN becomes the code 0 with no mark.")
PY
