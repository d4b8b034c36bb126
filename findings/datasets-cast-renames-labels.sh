#!/usr/bin/env bash
# datasets: casting a ClassLabel to one with other names keeps the numbers: with the names in another order each row changes its label. concatenate_datasets refuses the same pair.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0
"$tmp/venv/bin/python" - <<'PY'
import datasets
from datasets import ClassLabel, Dataset, Features, concatenate_datasets

datasets.disable_progress_bars()
ours, theirs = (Features({"label": ClassLabel(names=names)}) for names in (["negative", "positive"], ["positive", "negative"]))


def texts(data: Dataset) -> list[str]:
    return data.features["label"].int2str(list(data["label"]))


first = Dataset.from_dict({"label": ["negative", "positive", "positive"]}, ours)
second = Dataset.from_dict({"label": ["positive"]}, theirs)
try:
    concatenate_datasets([first, second])
    joined = "joined"
except ValueError:
    joined = "ValueError"
whole, column = texts(first.cast(theirs)), texts(first.cast_column("label", theirs["label"]))
print("datasets", datasets.__version__)
print("expected    labels go by their names, or the cast is refused as concatenate_datasets does")
print("before      ", texts(first), "concatenate:", joined)
print("cast        ", whole)
print("cast_column ", column)
turned = ["positive", "negative", "negative"]
if whole != turned or column != turned or joined != "ValueError":
    raise SystemExit("CHANGED: a cast keeps the names or is refused")
print("SEEN: the cast that makes concatenate_datasets work turns every label around.")
PY
