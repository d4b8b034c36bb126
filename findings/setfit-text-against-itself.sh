#!/usr/bin/env bash
# setfit: in multi-label training a text without any label is a negative pair with itself (target similarity 0), and so are any two such texts, while a text with a label is a positive pair with itself.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 setfit==1.2.0 sentence-transformers==5.7.0 transformers==4.57.6 datasets==5.0.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from setfit.sampler import ContrastiveDataset

texts = ["sport", "nothing a", "nothing b", "sport and art"]
labels = [[1, 0], [0, 0], [0, 0], [1, 1]]
print({name: version(name) for name in ("setfit", "sentence-transformers", "transformers")})
print("expected    a text with itself has target 1, or no such pair is made; two texts with the same labels are alike")
pairs = {}
for pair in ContrastiveDataset(texts, labels, multilabel=True, sampling_strategy="unique"):
    pairs[frozenset((pair["sentence_1"], pair["sentence_2"]))] = pair["label"]
for pair in sorted(pairs, key=sorted):
    if len(pair) == 1 or pair == {"nothing a", "nothing b"}:
        print(sorted(pair), pairs[pair])
if pairs.get(frozenset(["sport"])) != 1.0:
    raise SystemExit("CHANGED: a text with a label is no positive pair with itself")
if any(pairs.get(frozenset(p)) != 0.0 for p in (["nothing a"], ["nothing b"], ["nothing a", "nothing b"])):
    raise SystemExit("CHANGED: a text without a label is no negative pair with itself")
print("SEEN: the loss can never reach 0, as a text's cosine with itself is 1. Give such texts a label of their own.")
PY
