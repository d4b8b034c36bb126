#!/usr/bin/env bash
# voyager: add_items gives out ids in the order in which its threads get there: row i is now and then not id i, even in one call on a new index.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet voyager==2.2.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from voyager import Index, Space

rng = np.random.default_rng(0)
vectors = rng.standard_normal((200, 16)).astype(np.float32)
mixed = 0
tries = 0
while tries < 3000 and mixed < 3:
    tries += 1
    index = Index(Space.InnerProduct, num_dimensions=16)
    ids = index.add_items(vectors, num_threads=8)
    mixed += ids != list(range(200))
    exact = np.array_equal(np.stack([index.get_vector(i) for i in ids]), vectors)
print("voyager", version("voyager"), "numpy", np.__version__)
print("expected    ids 0 to 199 in the order of the rows, as faiss, hnswlib and usearch give")
print(f"seen        {mixed} of {tries} new indexes have them in another order; the returned list tells the right ones: {exact}")
if mixed == 0 or not exact:
    raise SystemExit("CHANGED: ids now follow the order of the rows")
print("SEEN: code that throws the returned ids away shows wrong documents on some builds, more often with more threads; pass ids=range(n).")
PY
