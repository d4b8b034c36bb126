#!/usr/bin/env bash
# datasets: Dataset.from_dict with Value("int8") cuts 1.7 to 1, where cast_column to the same type raises; and 300 raises in both.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet datasets==5.2.0
"$tmp/venv/bin/python" - <<'PY'
import datasets
from datasets import Dataset, Features, List, Value

datasets.disable_progress_bars()


def attempt(make: object) -> object:
    try:
        return make()["x"]  # type: ignore[operator]
    except Exception as error:
        return type(error).__name__


one, many = Features({"x": Value("int8")}), Features({"x": List(Value("int8"))})
seen = {}
for value in (1.7, -1.7, 300):
    seen[value] = [
        attempt(lambda value=value: Dataset.from_dict({"x": [value]}, one)[0]),
        attempt(lambda value=value: Dataset.from_dict({"x": [[value]]}, many)[0]),
        attempt(lambda value=value: Dataset.from_list([{"x": value}], one)[0]),
        attempt(lambda value=value: Dataset.from_dict({"x": [value]}).cast_column("x", Value("int8"))[0]),
    ]
print("datasets", datasets.__version__)
print("expected    each way into an int8 column refuses what an int8 does not hold")
print("            from_dict, from_dict (lists), from_list, cast_column")
for value, answers in seen.items():
    print(f"{value:11}", answers)
if seen[1.7][0] != 1 or seen[1.7][3] != "ArrowInvalid" or isinstance(seen[300][0], int):
    raise SystemExit("CHANGED: a fraction is refused when the dataset is built")
print("SEEN: embeddings that were never scaled become columns of zeros and ones with no message.")
PY
