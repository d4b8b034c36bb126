#!/usr/bin/env bash
# scikit-learn: normalize of float16 embeddings computes the lengths in float16: a vector with a value of 256 or more becomes all zeros.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 scikit-learn==1.9.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import sklearn
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import Normalizer, normalize

warnings.simplefilter("ignore")
x = np.array([[300, 400], [3, 4]], np.float16)
seen, wide = normalize(x), normalize(x.astype(np.float32))
print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
print("expected   ", wide.tolist())
print("seen       ", seen.tolist(), " Normalizer", Normalizer().transform(x).tolist(), " cosine_similarity", cosine_similarity(x).round(3).tolist())
if seen[0].tolist() != [0, 0] or abs(wide[0, 0] - 0.6) > 1e-6 or abs(cosine_similarity(x)[0, 1] - 1) > 1e-3:
    raise SystemExit("CHANGED: normalize now computes float16 lengths in a wider type")
print("SEEN: unpooled or unnormalised half-precision embeddings turn into zero vectors; cosine_similarity converts first and is right.")
PY
