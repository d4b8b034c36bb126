#!/usr/bin/env bash
# numpy sums float16 in float32 for mean, and not for nanmean, std, var and a weighted average: of 2000 values of 100 the mean is 100 and the others are infinite.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
same = np.full(2000, 100, np.float16)
hidden = rng.normal(40, 5, (2000, 3)).astype(np.float16)  # 2000 tokens; each number is far below float16's 65504
mask = np.ones(2000, np.float16)
exact = hidden.astype(np.float64)
print("numpy", np.__version__)
print("expected    nanmean and average agree with mean, and std with that of the same numbers in float64")
average = np.average(same, weights=mask)
print("2000 x 100  mean", np.mean(same), " nanmean", np.nanmean(same), " average", average, " std", np.std(same))
mean = np.mean(hidden, 0)
print("2000 tokens mean             ", mean.tolist())
print("            average by a mask", np.average(hidden, axis=0, weights=mask).tolist())
print("            nanmean          ", np.nanmean(hidden, 0).tolist())
print("            std              ", np.std(hidden, 0).tolist(), " in float64", exact.std(0).round(3).tolist())
if not np.allclose(mean, exact.mean(0), rtol=1e-3):
    raise SystemExit("CHANGED: mean sums in float16 too")
if np.isfinite([np.nanmean(same), average, np.std(same)]).any():
    raise SystemExit("CHANGED: the sums of the others are float32 now")
print("SEEN: a pooling that weighs by the mask, or skips NaN, overflows where the plain mean is right. Convert to float32 first.")
PY
