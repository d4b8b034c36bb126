#!/usr/bin/env bash
# faiss QT_8bit_direct_signed takes the floor of each value instead of the nearest integer: scaled embeddings get a bias.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet faiss-cpu==1.15.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import faiss
import numpy as np

rng = np.random.default_rng(0)
x = (rng.standard_normal((500, 64)) * 30).clip(-127, 127).astype(np.float32)
index = faiss.IndexScalarQuantizer(64, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
index.add(x)
stored = index.reconstruct_n(0, len(x))
bias, rounded = float((stored - x).mean()), float((np.rint(x) - x).mean())
print("faiss", faiss.__version__)
print(f"expected    each value rounded to the nearest integer, mean error about 0 ({rounded:+.3f})")
print(f"seen        mean error {bias:+.3f}; 1.6 and -1.4 would be stored as 1 and -2")
if not np.array_equal(stored, np.floor(x)):
    raise SystemExit("CHANGED: the values are no longer rounded down")
print("SEEN: pass integers, not floats in the integer range; the bias of half a step adds up over the dimensions.")
PY
