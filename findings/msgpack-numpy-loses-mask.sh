#!/usr/bin/env bash
# msgpack-numpy writes a masked array as a plain one: the mask is gone, and what it hid comes back as values.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet msgpack-numpy==0.4.8 msgpack==1.2.4 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import msgpack_numpy
import numpy as np

scores = np.ma.array([3.0, -1.0, 7.0], mask=[False, True, False])
back = msgpack_numpy.unpackb(msgpack_numpy.packb(scores))
print({name: version(name) for name in ("msgpack-numpy", "msgpack", "numpy")})
print("expected    a masked array comes back masked, or is refused (as datetime64 is)")
print(f"sent {scores!r}, mean {scores.mean()}; received {back!r}, mean {back.mean()}")
try:
    msgpack_numpy.packb(np.array(["2026-11-28"], "M8[D]"))
    refused = False
except Exception as error:
    refused = True
    print("datetime64:", type(error).__name__, error)
if isinstance(back, np.ma.MaskedArray) or back.tolist() != [3.0, -1.0, 7.0] or not refused:
    raise SystemExit("CHANGED: the mask is kept, or the array refused")
print("SEEN: padding that a service masked counts as scores for its client; send filled() or the mask beside it.")
PY
