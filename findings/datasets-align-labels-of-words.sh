#!/usr/bin/env bash
# datasets: align_labels_with_mapping on a column of word labels (NER) ends in NameError: name 'Sequence' is not defined; on a column of one label per text it works.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0
"$tmp/venv/bin/python" - <<'PY'
import datasets
from datasets import ClassLabel, Dataset, Features, List

datasets.disable_progress_bars()
names = ClassLabel(names=["O", "B-PER", "I-PER"])
data = Dataset.from_dict({"text": ["B-PER", "O"], "words": [["B-PER", "I-PER"], ["O"]]}, Features({"text": names, "words": List(names)}))
mapping = {"O": 0, "I-PER": 1, "B-PER": 2}
seen = {}
for column in ("text", "words"):
    try:
        seen[column] = str(list(data.align_labels_with_mapping(mapping, column)[column]))
    except NameError as error:
        seen[column] = f"NameError: {error}"
print("datasets", datasets.__version__)
print("expected    [2, 0] and [[2, 1], [0]]")
print("seen       ", seen)
if seen["text"] != "[2, 0]" or "NameError" not in seen["words"]:
    raise SystemExit("CHANGED: word labels are aligned")
print("SEEN: labels of a tagging corpus cannot be put in the order of a model; use map with ClassLabel.int2str.")
PY
