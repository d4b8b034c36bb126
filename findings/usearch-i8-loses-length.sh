#!/usr/bin/env bash
# usearch with dtype="i8" scales each vector to unit length before it rounds: metric "ip" then ranks by cosine.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet usearch==2.26.6 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import usearch
from usearch.index import Index

base = np.array([[0.6, 0.8] + [0.0] * 6, [0.5, 0.0] + [0.0] * 6], np.float32)
base = np.concatenate([base, base[:1] * 1.9 + np.array([[0.0, -0.9] + [0.0] * 6], np.float32)])
query = np.array([1.0, 0.0] + [0.0] * 6, np.float32)
exact = np.argsort(-(base @ query), kind="stable").tolist()
ranks = {}
for kind in ("f32", "i8"):
    index = Index(ndim=8, metric="ip", dtype=kind)
    index.add(np.arange(len(base)), base)
    ranks[kind] = np.asarray(index.search(query, 3).keys).tolist()
    print(kind, "ranking", ranks[kind], "stored", np.asarray(index.get(1)).ravel()[:3].tolist())
print("usearch", usearch.__version__, "inner products", (base @ query).round(2).tolist())
print("expected    the ranking of the inner products", exact, "for both: the values lie between -1 and 1.2")
if ranks["f32"] != exact or ranks["i8"] == exact:
    raise SystemExit("CHANGED: i8 and f32 now give the same ranking")
print("SEEN: vectors of different lengths (truncated embeddings, sparse expansions) are ranked by angle alone.")
PY
