#!/usr/bin/env bash
# scipy.stats: ttest_rel subtracts in the type of the arrays: right/wrong flags as uint8 make 0 - 1 = 255, and two systems with as many right answers differ with p = 0.001; wilcoxon of the same flags is right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from scipy import stats

rng = np.random.default_rng(0)
exact = (rng.random(1000) < 0.8).astype(np.uint8)  # 1: the float model's answer is right
other = exact.copy()
flips = rng.choice(1000, 60, replace=False)
other[flips] = 1 - other[flips]
other[rng.permutation(np.flatnonzero((exact == 1) & (other == 0)))[: int(exact.sum()) - int(other.sum())]] = 1
print({name: version(name) for name in ("numpy", "scipy")})
print("right answers of the two systems:", int(exact.sum()), int(other.sum()), "of 1000, at", int((exact != other).sum()), "they differ")
print("expected    t = 0 and p = 1, whatever type holds the flags")
results = {}
for kind in (np.float64, np.int8, np.uint8, np.uint64):
    found = stats.ttest_rel(exact.astype(kind), other.astype(kind))
    rank = stats.wilcoxon(exact.astype(kind), other.astype(kind))
    results[kind] = found
    print(f"{kind.__name__:8} ttest_rel t = {found.statistic:.3f}, p = {found.pvalue:.3g}   wilcoxon p = {rank.pvalue:.3g}")
if abs(results[np.float64].statistic) > 1e-9 or abs(results[np.int8].statistic) > 1e-9:
    raise SystemExit("CHANGED: the flags are not equal in number")
if results[np.uint8].pvalue > 0.01:
    raise SystemExit("CHANGED: the difference is taken in a signed type")
print("SEEN: a paired comparison of two models finds a difference that is not there. Pass floats, as stats.wilcoxon does inside.")
PY
