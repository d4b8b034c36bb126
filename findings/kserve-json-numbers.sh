#!/usr/bin/env bash
# kserve: data of a V2 JSON request is forced into the datatype: [1.7] as INT32 is 1, ["false"] as BOOL is True; only INT8 out of range raises.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet kserve==0.21.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import json
from importlib.metadata import version

from kserve import InferRequest


def read(datatype: str, data: list[object]) -> object:
    body = json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": [len(data)], "data": data}]}).encode()
    try:
        return InferRequest.from_bytes(body, len(body), "m").inputs[0].as_numpy().tolist()
    except Exception as error:
        return type(error).__name__


cases = [("INT32", [1.7, -1.7]), ("BOOL", ["false", ""]), ("INT64", [True]), ("FP32", ["12", None]), ("INT8", [200])]
seen = [read(*case) for case in cases]
print("kserve", version("kserve"))
print("expected    an error for data that is not of the named type")
for case, answer in zip(cases, seen, strict=True):
    print(f"{case[0]:6} {case[1]!s:16}", answer)
if seen[0] != [1, -1] or seen[1] != [True, False] or seen[4] != "OverflowError":
    raise SystemExit("CHANGED: kserve now checks the data against the datatype")
print("SEEN: a client that sends scores as token ids, or flags as text, gets an answer.")
PY
