#!/usr/bin/env bash
# milvus-lite: on a FLOAT field `score == 0.1` finds nothing and `score != 0.1` finds every row, the stored 0.1 too, while `score in [0.1]` finds it: == compares the float32 with a double, "in" rounds the list first.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet pymilvus==3.0.2 milvus-lite==3.2.2
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version

from pymilvus import DataType, MilvusClient

print({name: version(name) for name in ("pymilvus", "milvus-lite")})
with tempfile.TemporaryDirectory() as folder:
    client = MilvusClient(f"{folder}/data.db")
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("score", DataType.FLOAT)
    schema.add_field("wide", DataType.DOUBLE)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection("texts", schema=schema, index_params=index, consistency_level="Strong")
    values = {1: 0.1, 2: 0.5, 3: 0.7}
    client.insert("texts", [{"id": i, "vector": [i, 0], "score": x, "wide": x} for i, x in values.items()])
    client.load_collection("texts")
    found = {}
    for words in ("== 0.1", "!= 0.1", "in [0.1]", "not in [0.1]", "<= 0.1", "== 0.5", "in [0.7]", "== 0.7", ">= 0.7"):
        found[words] = [
            sorted(row["id"] for row in client.query("texts", filter=f"{field} {words}", output_fields=["id"]))
            for field in ("score", "wide")
        ]
        print(words, "FLOAT", found[words][0], "DOUBLE (expected)", found[words][1])
    client.close()
if found["== 0.1"][1] != [1] or found["== 0.5"][0] != [2]:
    raise SystemExit("CHANGED: a double, or a number that float32 holds, is not found")
if found["in [0.1]"][0] != [1]:
    raise SystemExit("CHANGED: in [0.1] finds other rows")
if found["== 0.1"][0] != [] or found["!= 0.1"][0] != [1, 2, 3]:
    raise SystemExit("CHANGED: == on FLOAT finds the stored number")
print("SEEN: == and in [...] answer differently for one number; <= 0.1 leaves out the row of 0.1 and >= 0.7 that of 0.7,")
print("      as float32 lies above or below what was typed.")
PY
