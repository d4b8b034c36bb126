#!/usr/bin/env bash
# datasets picks integer widths by column name: attention_mask is INT8, so a mask that numbers packed texts fails at text 128.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0
"$tmp/venv/bin/python" - <<'PY'
import datasets
from datasets import Dataset

datasets.disable_progress_bars()
rows = Dataset.from_dict({"text": list(range(3000))})
types = Dataset.from_dict({"attention_mask": [[1]], "input_ids": [[1]], "segment_ids": [[1]]}).features
print("datasets", datasets.__version__)
print("expected    integers are INT64 whatever the column is called")
print("seen       ", {name: str(f.feature.dtype) for name, f in types.items()})


def number(name):
    try:
        return rows.map(lambda row: {name: [row["text"] // 10]}).features[name].feature.dtype
    except Exception as error:
        return f"{type(error).__name__}: {error}"


mask, other = number("attention_mask"), number("segment_ids")
print("map with values 0 to 299: segment_ids", other, "| attention_mask", mask)
if types["attention_mask"].feature.dtype != "int8" or types["segment_ids"].feature.dtype != "int64" or "not in range" not in mask:
    raise SystemExit("CHANGED: the type of a column no longer depends on its name")
print("SEEN: the first batch fixes the type; the error comes in a later batch and names no column.")
PY
