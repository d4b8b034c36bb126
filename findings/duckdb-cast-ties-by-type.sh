#!/usr/bin/env bash
# DuckDB: 2.5 cast to TINYINT is 3 as a literal (DECIMAL) or text, and 2 as FLOAT or DOUBLE; round() of the same FLOAT is 3.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet duckdb==2.0.1
"$tmp/venv/bin/python" - <<'PY'
import duckdb

row = duckdb.sql(
    "select 2.5::TINYINT, '2.5'::TINYINT, 2.5::FLOAT::TINYINT, 2.5::DOUBLE::TINYINT, round(2.5::FLOAT)::TINYINT, (-2.5)::TINYINT, (-2.5)::FLOAT::TINYINT"
).fetchall()[0]
duckdb.sql("create table e as select x::FLOAT as f, x::DECIMAL(9, 4) as d from (values (0.125), (0.375), (0.625)) t(x)")
codes = duckdb.sql("select list((f / 0.25)::TINYINT), list((d * 4)::TINYINT) from e").fetchall()[0]
print("duckdb", duckdb.__version__)
print("expected    one rule for ties: half to even (as QuantizeLinear) or half away from zero")
print("seen        literal, text, FLOAT, DOUBLE, round(FLOAT), -literal, -FLOAT:", row)
print("            the same column as FLOAT and as DECIMAL, scale 0.25:", codes)
if row != (3, 3, 2, 2, 3, -3, -2) or codes[0] == codes[1]:
    raise SystemExit("CHANGED: casts now treat ties alike for all types")
print("SEEN: codes quantised in SQL differ from the model's by one step wherever a column came in as DECIMAL (JSON, CSV, literals).")
PY
