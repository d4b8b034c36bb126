#!/usr/bin/env bash
# Binary embeddings: sqlite-vec packs the first value into the lowest bit, numpy.packbits (sentence-transformers' "ubinary") into the highest: no vector finds itself.
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
rng = np.random.default_rng(0)
x = rng.standard_normal((1000, 256)).astype(np.float32)
packed = np.packbits(x > 0, axis=1)  # as sentence_transformers.util.quantize_embeddings(precision="ubinary")
db.execute("create virtual table docs using vec0(embedding bit[256])")
with db:
    for row, blob in enumerate(packed):
        db.execute("insert into docs(rowid, embedding) values (?, vec_bit(?))", (row, blob.tobytes()))
search = "select rowid, distance from docs where embedding match vec_quantize_binary(vec_f32(?)) and k = 1"
found = [db.execute(search, (v.tobytes(),)).fetchone() for v in x[:50]]
hits = sum(row == i for i, (row, _) in enumerate(found))
one = db.execute("select vec_quantize_binary(vec_f32(?))", (np.array([1] + [-1] * 7, np.float32).tobytes(),)).fetchone()[0]
little = np.packbits(x > 0, axis=1, bitorder="little")
own = db.execute("select vec_quantize_binary(vec_f32(?))", (x[0].tobytes(),)).fetchone()[0]
print("sqlite-vec", db.execute("select vec_version()").fetchone()[0], "apsw", apsw.apsw_version(), "numpy", np.__version__)
print("expected    each of 50 vectors finds itself at distance 0")
print(f"seen        {hits} of 50 do; first distances {[d for _, d in found[:5]]}; [1, -1 ...] is {one.hex()} there, {np.packbits([1] + [0] * 7).tobytes().hex()} in numpy")
print("with bitorder='little' the bytes are the same:", little[0].tobytes() == own)
if hits > 5 or one != b"\x01" or little[0].tobytes() != own:
    raise SystemExit("CHANGED: the two now agree on the order of the bits")
print("SEEN: documents packed in Python and queries quantised in SQL give distances around half of the bits, as for random vectors.")
PY
