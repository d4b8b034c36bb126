#!/usr/bin/env bash
# Lance: a search by cosine leaves out rows whose distance is NaN (an all-zero vector), so k=3 over 3 rows returns 2; with l2 or dot all 3.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pylance==14.0.2 pyarrow==26.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import lance
import numpy as np
import pyarrow as pa

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "docs.lance")
    rows = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)  # the first text was empty
    table = pa.table({"id": [0, 1, 2], "v": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 2)})
    dataset = lance.write_dataset(table, path)

    def search(metric: str, query: list[float]) -> list[int]:
        nearest = {"column": "v", "q": np.array(query, np.float32), "k": 3, "metric": metric}
        return dataset.to_table(nearest=nearest, columns=["id", "_distance"])["id"].to_pylist()

    seen = {metric: search(metric, [1, 0]) for metric in ("l2", "dot", "cosine")}
    empty = search("cosine", [0, 0])
print("pylance", lance.__version__, "pyarrow", pa.__version__)
print("expected    3 rows each, or an error for a vector without direction")
print("seen       ", seen, " cosine, query of zeros:", empty)
if sorted(seen["l2"]) != [0, 1, 2] or sorted(seen["dot"]) != [0, 1, 2] or seen["cosine"] != [1, 2] or empty != []:
    raise SystemExit("CHANGED: rows without a direction are now returned or refused")
print("SEEN: results that are zipped with other columns of length k slip, and documents without tokens can never be found.")
PY
