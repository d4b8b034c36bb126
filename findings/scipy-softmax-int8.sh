#!/usr/bin/env bash
# scipy.special.softmax of int8 logits subtracts the maximum in 8 bits: the smallest logit wins, or all is NaN; the result is float16.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import scipy
from scipy.special import log_softmax, logsumexp, softmax

warnings.simplefilter("ignore")
logits = np.array([127, -128, 0], np.int8)
seen = softmax(logits)
wide = softmax(logits.astype(np.float32))
two = np.array([100, -100], np.int8)
print("scipy", scipy.__version__, "numpy", np.__version__)
print("expected   ", wide.tolist(), wide.dtype)
print("seen       ", seen.round(3).tolist(), seen.dtype, " for [100, -100]:", softmax(two).tolist(), "log_softmax", log_softmax(two).tolist())
print("logsumexp of [100, -100], done in float64:", float(logsumexp(two)))
if seen.argmax() != 1 or wide.argmax() != 0 or not np.isnan(softmax(two)).any() or abs(float(logsumexp(two)) - 100) > 1e-6:
    raise SystemExit("CHANGED: softmax now widens int8")
print("SEEN: argmax of the probabilities is the class with the lowest logit.")
PY
