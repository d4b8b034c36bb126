#!/usr/bin/env bash
# qdrant-client's local mode (":memory:") ignores the datatype: a collection of UINT8 or FLOAT16 vectors keeps and returns 1.7, -3 and 70000.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet qdrant-client==1.20.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

from qdrant_client import QdrantClient, models

warnings.simplefilter("ignore")
vector = [1.7, -3.0, 70000.0]
seen = {}
for kind in (models.Datatype.UINT8, models.Datatype.FLOAT16):
    client = QdrantClient(":memory:")
    client.create_collection("c", models.VectorParams(size=3, distance=models.Distance.DOT, datatype=kind))
    client.upsert("c", [models.PointStruct(id=1, vector=vector)])
    kept = client.retrieve("c", [1], with_vectors=True)[0].vector
    seen[kind.value] = (kept, client.query_points("c", query=[1.0, 1.0, 1.0]).points[0].score)
print("qdrant-client", version("qdrant-client"))
print("expected    uint8: whole numbers from 0 to 255, float16: 70000 is infinite or refused")
for kind, (kept, score) in seen.items():
    print(f"{kind:11} vector {[round(v, 3) for v in kept]} score {score:.1f}")
if any(abs(kept[0] - 1.7) > 1e-5 or kept[1] != -3 or kept[2] != 70000 for kept, _ in seen.values()):
    raise SystemExit("CHANGED: local mode now stores the datatype that was asked for")
print("SEEN: a recall test in memory measures float32; what 8 bits cost shows only on the server.")
PY
