#!/usr/bin/env bash
# DuckDB: array_cosine_similarity with an all-zero vector is NaN, and NaN sorts as the largest: ORDER BY similarity DESC LIMIT k returns the empty rows first, before the exact match.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet duckdb==2.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import duckdb

print("duckdb", version("duckdb"))
print("expected    the row that equals the query comes first; a row of zeros (an empty text) last or not at all")
rows = "(VALUES ('same', [1, 0]::FLOAT[2]), ('near', [1, 1]::FLOAT[2]), ('opposite', [-1, 0]::FLOAT[2]), ('zeros', [0, 0]::FLOAT[2])) t(name, v)"
query = "[1, 0]::FLOAT[2]"
orders = {
    "array_cosine_similarity DESC": f"array_cosine_similarity(v, {query}) DESC",
    "array_cosine_distance ASC": f"array_cosine_distance(v, {query}) ASC",
    "list_cosine_similarity DESC": f"list_cosine_similarity(v::FLOAT[], {query}::FLOAT[]) DESC",
}
seen = {}
for name, order in orders.items():
    seen[name] = [row[0] for row in duckdb.execute(f"SELECT name FROM {rows} ORDER BY {order}").fetchall()]
    print(f"{name:30}", seen[name])
above = duckdb.execute(f"SELECT name FROM {rows} WHERE array_cosine_similarity(v, {query}) > 0.9").fetchall()
print("similarity > 0.9              ", [row[0] for row in above])
if seen["array_cosine_similarity DESC"][0] != "zeros" or seen["array_cosine_distance ASC"][0] != "same":
    raise SystemExit("CHANGED: the zero vector is not the nearest by similarity, or the distance orders otherwise")
print("SEEN: a search by similarity starts with the empty texts, one by distance ends with them. Order by distance, or leave zeros out.")
PY
