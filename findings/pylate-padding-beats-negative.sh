#!/usr/bin/env bash
# pylate: rank.rerank pads the candidates with zero vectors and does not mask them: a negative similarity of a shorter document becomes 0, so its score and rank depend on the other candidates.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 sentence-transformers==5.3.0 transformers==5.3.0 datasets==5.2.0 numpy==2.4.6
"$tmp/venv/bin/pip" install --quiet --no-deps pylate==1.6.0 # without the libraries of its indexes, which ask for another torch
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from pylate import rank

query = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
angles = {"short": [0.0, -90.0], "long": [40.0, 50.0, 300.0, 310.0]}
documents = {
    name: np.stack([np.cos(np.radians(a)), np.sin(np.radians(a))], 1).astype(np.float32) for name, a in angles.items()
}
documents["short"][0] = [0.96, -0.28]  # neither of its tokens points along the second token of the query
documents["long"] = documents["long"] @ np.array([[0.9, 0.0], [0.0, 0.1]], np.float32)


def scores(names: list[str]) -> dict[str, float]:
    """What rerank answers for these candidates of the one query."""
    found = rank.rerank([names], [query], [[documents[name] for name in names]], device="cpu")[0]
    return {hit["id"]: round(hit["score"], 4) for hit in found}


exact = {name: round(float((query @ tokens.T).max(1).sum()), 4) for name, tokens in documents.items()}
alone, together = scores(["short"]), scores(["short", "long"])
print({name: version(name) for name in ("pylate", "sentence-transformers", "torch")})
print("expected    the sum over the query's tokens of the largest similarity:", exact)
print("alone      ", alone)
print("together   ", together)
if alone["short"] != exact["short"] or together["short"] == exact["short"]:
    raise SystemExit("CHANGED: the padding is masked")
print("SEEN: rescoring in other groups gives other scores. Give colbert_scores the masks of the documents.")
PY
