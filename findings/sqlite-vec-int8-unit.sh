#!/usr/bin/env bash
# sqlite-vec: vec_quantize_int8(x, 'unit') is not symmetric: 1.0 is 126, 0.5 is 63, -0.5 is -64 and -1.0 is -128.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet apsw==3.54.1.0 sqlite-vec==0.1.9 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import apsw
import numpy as np
import sqlite_vec

db = apsw.Connection(":memory:")
db.enable_load_extension(True)
db.load_extension(sqlite_vec.loadable_path())


def codes(values: np.ndarray) -> np.ndarray:
    blob = values.astype(np.float32).tobytes()
    return np.frombuffer(db.execute("select vec_quantize_int8(vec_f32(?), 'unit')", (blob,)).fetchone()[0], np.int8)


values = np.array([1.0, 0.5, 0.004, 0.0, -0.004, -0.5, -1.0])
seen = codes(values).tolist()
rng = np.random.default_rng(0)
x = rng.standard_normal(1024)
x /= np.linalg.norm(x)
mirror = int((codes(x).astype(int) + codes(-x).astype(int)).sum())
print("sqlite-vec", db.execute("select vec_version()").fetchone()[0], "apsw", apsw.apsw_version())
print("expected   ", np.rint(values * 127).astype(int).tolist(), "and the codes of x and -x add up to 0")
print("seen       ", seen, "and the codes of x and -x add up to", mirror, "over", len(x), "dimensions")
if seen != [126, 63, 0, 0, -1, -64, -128] or mirror == 0:
    raise SystemExit("CHANGED: the codes are now symmetric")
print("SEEN: a pull of half a step toward the negative in each dimension; scores against codes made elsewhere (x * 127) are off.")
PY
