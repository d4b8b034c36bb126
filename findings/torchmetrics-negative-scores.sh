#!/usr/bin/env bash
# torchmetrics: retrieval metrics count no hit whose score is 0 or less: with negative cosines or logits MAP, MRR, recall and precision are 0 for a perfect ranking; nDCG, hit rate and R-precision are right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from torchmetrics import retrieval

scores, relevant, query = torch.tensor([-0.1, -0.2, -0.3]), torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0])
names = ("MAP", "MRR", "Recall", "Precision", "NormalizedDCG", "HitRate", "RPrecision")
print({name: version(name) for name in ("torch", "torchmetrics")})
print("expected    only the order of the scores counts: adding 1 to each changes no metric")
seen = {}
for name in names:
    metric = getattr(retrieval, f"Retrieval{name}")()
    seen[name] = tuple(round(metric(scores + shift, relevant, indexes=query).item(), 4) for shift in (0, 1))
    print(f"{name:14} scores {[round(s, 1) for s in scores.tolist()]}: {seen[name][0]}, the same plus 1: {seen[name][1]}")
if any(seen[n][0] != 0 or seen[n][1] == 0 for n in names[:4]) or any(seen[n] != (1, 1) for n in names[4:]):
    raise SystemExit("CHANGED: negative scores are ranked as others")
print("SEEN: the documentation asks for a tensor of floats, no more. Give ranks, or the sigmoid of the scores.")
PY
