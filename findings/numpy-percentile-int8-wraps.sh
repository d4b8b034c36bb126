#!/usr/bin/env bash
# numpy.percentile of int8 (and with it pandas' quantile and describe) interpolates in 8 bits: the median of -100 and 100 is 128. numpy.median says 0.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 pandas==3.1.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")  # one RuntimeWarning about a scalar subtract is the only sign

codes = np.array([-100, 100], np.int8)
seen = [float(np.percentile(codes, q)) for q in (25, 50, 75)]
right = [float(np.percentile(codes.astype(np.float32), q)) for q in (25, 50, 75)]
described = pd.Series(codes).describe()[["min", "25%", "50%", "75%", "max"]].tolist()
unsigned = float(np.percentile(codes.view(np.uint8), 50)), float(np.percentile(codes.view(np.uint8).astype(int), 50))
print("numpy", np.__version__, "pandas", pd.__version__)
print("expected    25, 50, 75 %:", right)
print("seen       ", seen, " numpy.median", float(np.median(codes)), " uint8 median", unsigned[0], "of", unsigned[1])
print("pandas describe, min to max:", described, " Series.median", pd.Series(codes).median())
if right != [-50, 0, 50] or seen[1] != 128 or np.median(codes) != 0 or described[2] != 128:
    raise SystemExit("CHANGED: percentiles of int8 no longer wrap around")
print("SEEN: clipping ranges taken from the percentiles of few or spread-out codes lie outside of the data; with thousands of codes it seldom shows.")
PY
