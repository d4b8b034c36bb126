#!/usr/bin/env bash
# hnswlib: a saved index does not hold its metric: a file made with space="l2" loads as "cosine" with no error, and is then ranked by dot product, with distances far below 0, as rows get length 1 only when they are added.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet hnswlib==0.8.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version
from pathlib import Path

import hnswlib
import numpy as np

print("hnswlib", version("hnswlib"))
print("expected    an index opened with another metric than it was built with is refused, or keeps its own")
rows = np.array([[1, 0], [6, 8], [0.3, 0.1], [0, 20]], dtype=np.float32)
query = np.array([[2, 0.1]], dtype=np.float32)
folder = Path(tempfile.mkdtemp())
seen = {}
for built in ("cosine", "ip", "l2"):
    index = hnswlib.Index(space=built, dim=2)
    index.init_index(max_elements=10)
    index.add_items(rows)
    index.save_index(str(folder / built))
    for opened in ("cosine", "ip", "l2"):
        index = hnswlib.Index(space=opened, dim=2)
        index.load_index(str(folder / built))
        labels, distances = index.knn_query(query, k=4)
        seen[built, opened] = (labels[0].tolist(), distances[0].astype(float).round(2).tolist())
        print(f"built as {built:6} opened as {opened:6} rows", *seen[built, opened])
if seen["cosine", "cosine"][0][0] != 0 or seen["l2", "l2"][0][0] != 0:
    raise SystemExit("CHANGED: the same metric does not find row 0")
if seen["l2", "cosine"][0][0] != 1 or seen["l2", "cosine"][1][0] >= 0:
    raise SystemExit("CHANGED: the L2 file opened as cosine answers otherwise, or its own metric is kept")
print("SEEN: wrong neighbours and negative distances, with no message. Store the metric next to the file.")
PY
