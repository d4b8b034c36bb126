#!/usr/bin/env bash
# huggingface_hub: a score that is a numpy number (np.float64 too) is written into the model card as a Python object of YAML, and the card cannot be read again.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet huggingface_hub==2.4.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData


def card(score: object) -> str:
    result = EvalResult(task_type="text-classification", dataset_type="xnli", dataset_name="XNLI", metric_type="accuracy", metric_value=score)
    return f"---\n{ModelCardData(model_name='m', eval_results=[result]).to_yaml()}\n---\n# m\n"


print({name: version(name) for name in ("huggingface_hub", "numpy")})
print("expected    a mean from numpy is written as a number, or refused when the card is made")
seen = {}
for score in (0.75, np.float64(0.75), np.float32(0.75)):
    text = card(score)
    line = next(line.strip(" -") for line in text.splitlines() if "value:" in line)
    try:
        answer = ModelCard(text).data.eval_results[0].metric_value
    except Exception as error:
        answer = type(error).__name__
    seen[type(score).__name__] = (line, answer)
    print(f"{type(score).__name__:8} written as {line!r}, read as {answer}")
if seen["float"][1] != 0.75 or any("!!python/object" not in seen[n][0] or seen[n][1] == 0.75 for n in ("float64", "float32")):
    raise SystemExit("CHANGED: numpy's numbers are numbers in a card")
print("SEEN: nothing complains before somebody loads the card; give float(score).")
PY
