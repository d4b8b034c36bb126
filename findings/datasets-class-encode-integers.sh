#!/usr/bin/env bash
# datasets: class_encode_column on integer labels sorts them as text, so of twelve labels 2 becomes 4 and 10 becomes 2.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0
"$tmp/venv/bin/python" - <<'PY'
import datasets
from datasets import Dataset

datasets.disable_progress_bars()
labels = list(range(12))
encoded = Dataset.from_dict({"label": labels}).class_encode_column("label")
print("datasets", datasets.__version__)
print("expected   ", labels, "(labels that are 0..n-1 already stay)")
print("seen       ", encoded["label"][:])
print("names      ", encoded.features["label"].names)
if encoded["label"][:] == labels:
    raise SystemExit("CHANGED: integer labels now keep their order")
print("SEEN: below eleven classes nothing moves; a checkpoint with 18 topics or 60 intents is scored against shuffled labels.")
PY
