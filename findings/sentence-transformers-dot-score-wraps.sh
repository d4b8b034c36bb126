#!/usr/bin/env bash
# sentence-transformers: util.dot_score of int8 embeddings is an int8 and wraps; util.cos_sim refuses them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 sentence-transformers==6.2.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import sentence_transformers
from sentence_transformers import util

a = np.full((1, 64), 100, np.int8)
exact = int((a.astype(np.int64) ** 2).sum())
score = util.dot_score(a, a)
try:
    util.cos_sim(a, a)
    cosine = "answers"
except RuntimeError:
    cosine = "RuntimeError"
print("sentence-transformers", sentence_transformers.__version__)
print("expected   ", exact, "from dot_score: encode(precision='int8') gives such arrays")
print("seen        dot_score", int(score), score.dtype, "| cos_sim", cosine)
if int(score) == exact or cosine != "RuntimeError":
    raise SystemExit("CHANGED: int8 embeddings are now widened")
print("SEEN: cast to float32 before any score; a corpus ranked by dot_score is ranked by sums modulo 256.")
PY
