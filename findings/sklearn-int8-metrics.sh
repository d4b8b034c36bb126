#!/usr/bin/env bash
# scikit-learn on int8 arrays: max_error, median_absolute_error and auc wrap around (max_error of 127 against -128 is 1); mean_absolute_error is right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 scikit-learn==1.9.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import sklearn
from sklearn import metrics

a, b = np.array([127, 127], np.int8), np.array([-128, -128], np.int8)
x, y = np.array([-100, 100], np.int8), np.array([100, 100], np.int8)
seen = {
    "max_error": float(metrics.max_error(a, b)),
    "median_absolute_error": float(metrics.median_absolute_error(a, b)),
    "mean_absolute_error": float(metrics.mean_absolute_error(a, b)),
    "mean_squared_error": float(metrics.mean_squared_error(a, b)),
    "auc": float(metrics.auc(x, y)),
}
print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
print("expected    255, 255, 255, 65025 and an area of 200 x 100 = 20000")
print("seen       ", seen)
if seen["max_error"] != 1 or seen["median_absolute_error"] != 1 or seen["mean_absolute_error"] != 255 or seen["auc"] == 20000:
    raise SystemExit("CHANGED: these metrics now widen int8")
print("SEEN: a test that compares two INT8 engines by max_error passes at the largest possible difference.")
PY
