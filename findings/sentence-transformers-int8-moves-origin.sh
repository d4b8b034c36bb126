#!/usr/bin/env bash
# sentence-transformers: "int8" embeddings are shifted in each dimension, so their cosine is not the cosine of the embeddings.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 sentence-transformers==6.2.0
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import sentence_transformers
from sentence_transformers.util.quantization import quantize_embeddings

rng = np.random.default_rng(0)
# like real encoders: the dimensions have different means
x = rng.standard_normal((2000, 64)) + np.linspace(-2, 2, 64)
x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def cosines(a):
    a = a.astype(np.float64)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    scores = a @ a.T
    mean = float(scores[np.triu_indices(len(a), 1)].mean())
    np.fill_diagonal(scores, -2)
    return mean, scores.argmax(1)


exact, neighbours = cosines(x)
library, theirs = cosines(quantize_embeddings(x, precision="int8"))
plain, ours = cosines(np.rint(x / np.abs(x).max() * 127).astype(np.int8))
same, same_plain = float((theirs == neighbours).mean()), float((ours == neighbours).mean())
print("sentence-transformers", sentence_transformers.__version__)
print("expected    the codes keep the mean cosine and almost all nearest neighbours")
print(f"float32     mean cosine {exact:.3f}")
print(f"one scale   mean cosine {plain:.3f}, same nearest neighbour {same_plain:.0%}")
print(f"library     mean cosine {library:.3f}, same nearest neighbour {same:.0%}")
if same_plain < 0.9 or same > 0.8 or abs(library) > 0.2:
    raise SystemExit("CHANGED: the int8 codes now keep the angles")
print("SEEN: each dimension's range is mapped to -128..127; a dot product of such codes needs the offsets back.")
PY
