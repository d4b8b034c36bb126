#!/usr/bin/env bash
# redisvl: array_to_buffer for the int8 vectors of Redis wraps an array's floats around (200 is -56), where it refuses a list of the same; both are cut, so a vector of length 1 is stored as zeros.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet redisvl==0.28.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from redisvl.redis.utils import array_to_buffer


def stored(values: object) -> list[int] | str:
    try:
        return np.frombuffer(array_to_buffer(values, "int8"), np.int8).tolist()
    except Exception as error:
        return type(error).__name__


unit, scaled = [0.6, -0.8, 0.0], [1.7, -1.7, 200.0]
print({name: version(name) for name in ("redisvl", "numpy")})
print("expected    floats that an int8 vector cannot hold are refused, or rounded and saturated, as a list or as an array")
seen = [stored(kind(values)) for values in (unit, scaled) for kind in (list, lambda v: np.array(v, np.float32))]
for name, answer in zip(("unit vector, list", "unit vector, array", "scaled, list", "scaled, array"), seen):
    print(f"{name:19} {answer}")
if seen != [[0, 0, 0], [0, 0, 0], "OverflowError", [1, -1, -56]]:
    raise SystemExit("CHANGED: values are checked, rounded or saturated")
print("SEEN: an index of int8 is filled with zeros by embeddings that were not scaled, and a search over them returns any rows.")
PY
