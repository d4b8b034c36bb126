#!/usr/bin/env bash
# tritonclient: InferResult.as_numpy of a BYTES output holds bytes when the answer is binary and str when it is JSON: "é" == b"\xc3\xa9" is False.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tritonclient[http]==2.73.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import json
from importlib.metadata import version

import tritonclient.http as http

label = "café"
raw = label.encode()
binary = len(raw).to_bytes(4, "little") + raw
output = {"name": "label", "datatype": "BYTES", "shape": [1]}
text_body = json.dumps({"model_name": "m", "outputs": [{**output, "data": [label]}]}).encode()
head = json.dumps({"model_name": "m", "outputs": [{**output, "parameters": {"binary_data_size": len(binary)}}]}).encode()
parse = http.InferenceServerClient.parse_response_body
as_text = parse(text_body).as_numpy("label")[0]
as_binary = parse(head + binary, header_length=len(head)).as_numpy("label")[0]
print("tritonclient", version("tritonclient"))
print("expected    one Python type for one datatype")
print("seen        JSON:", repr(as_text), " binary:", repr(as_binary), " equal:", as_text == as_binary)
if as_text != label or as_binary != raw:
    raise SystemExit("CHANGED: both ways now give the same type")
print("SEEN: binary_data=False, or a proxy that speaks JSON only, breaks dictionary look-ups of labels with no error.")
PY
