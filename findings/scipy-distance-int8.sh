#!/usr/bin/env bash
# scipy.spatial.distance: euclidean, cityblock and chebyshev of int8 vectors subtract in 8 bits; sqeuclidean and cdist of the same vectors are right.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1
"$tmp/venv/bin/python" - <<'PY'
import warnings

import numpy as np
import scipy
from scipy.spatial import distance

warnings.simplefilter("ignore")
a, b = np.array([100, 100, 100], np.int8), np.array([-100, -100, -100], np.int8)
names = ("euclidean", "cityblock", "chebyshev", "sqeuclidean")
single = {name: float(getattr(distance, name)(a, b)) for name in names}
right = {name: float(getattr(distance, name)(a.astype(float), b.astype(float))) for name in names}
pairs = {name: float(distance.cdist([a], [b], name)[0, 0]) for name in names}
half = np.full(4, 300, np.float16)
cosine = float(distance.cosine(half, half)), float(distance.cdist([half], [half], "cosine")[0, 0])
print("scipy", scipy.__version__, "numpy", np.__version__)
print("expected   ", right)
print("seen       ", single)
print("cdist      ", pairs)
print("cosine of a float16 vector with itself:", cosine[0], "with cdist:", round(cosine[1], 6))
wrong = [name for name in names if single[name] != right[name]]
if wrong != ["euclidean", "cityblock", "chebyshev"] or pairs != right or not np.isnan(cosine[0]):
    raise SystemExit("CHANGED: the distances of narrow types are now right")
print("SEEN: the square root of sqeuclidean is not euclidean, and far vectors look near; float16 overflows to NaN.")
PY
