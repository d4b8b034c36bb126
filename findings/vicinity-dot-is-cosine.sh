#!/usr/bin/env bash
# vicinity: metric="dot" is taken as cosine, without a word, by each backend, Annoy too, for which the documentation lists "dot": vectors of different lengths are ranked by angle alone.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet vicinity==0.4.6 annoy==1.17.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from annoy import AnnoyIndex
from vicinity import Backend, Vicinity

vectors = np.array([[1.0, 0.0], [3.0, 1.0], [6.0, 4.0]], np.float32)
query = np.array([[1.0, 0.0]], np.float32)
names = ["short", "longer", "longest"]
exact = [names[i] for i in np.argsort(-(vectors @ query[0]))]
annoy = AnnoyIndex(2, "dot")
for row, vector in enumerate(vectors):
    annoy.add_item(row, vector)
annoy.build(10, n_jobs=1)
alone = [names[i] for i in annoy.get_nns_by_vector(query[0], 3)]
print({name: version(name) for name in ("vicinity", "annoy", "numpy")})
print("expected    ", exact, "dot products", sorted((vectors @ query[0]).tolist(), reverse=True))
print("annoy alone ", alone)
seen = {}
for backend in (Backend.BASIC, Backend.ANNOY):
    index = Vicinity.from_vectors_and_items(vectors.copy(), names, backend_type=backend, metric="dot")
    hits = index.query(query, k=3)[0]
    seen[backend] = [name for name, _ in hits]
    print(f"vicinity {backend.value:6}", seen[backend], "distances", [round(float(d), 3) for _, d in hits])
if alone != exact or any(order != ["short", "longer", "longest"] for order in seen.values()):
    raise SystemExit("CHANGED: dot ranks by the dot product, or is refused")
print("SEEN: the distances are 1 - cosine. metric='inner_product' is the dot product, and the backends without it refuse it.")
PY
