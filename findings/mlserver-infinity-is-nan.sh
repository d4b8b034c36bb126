#!/usr/bin/env bash
# MLServer: an infinity in an array becomes null in JSON and NaN at the client: argmax then names the class that -inf had ruled out; and an array of shape (n,) arrives as (n, 1).
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet mlserver==1.7.1 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from mlserver.codecs import NumpyCodec
from mlserver.rest.responses import Response
from mlserver.types import InferenceResponse

scores = np.array([0.2, 0.1, -np.inf], np.float32)
answer = InferenceResponse(model_name="labels", outputs=[NumpyCodec.encode_output("scores", scores)])
body = Response(answer.model_dump()).body
received = InferenceResponse.model_validate_json(body)
found = NumpyCodec.decode_output(received.outputs[0])
print({name: version(name) for name in ("mlserver", "numpy")})
print("body       ", bytes(body).decode())
print("expected   ", scores.tolist(), "shape", scores.shape, "argmax", scores.argmax())
print("seen       ", found.ravel().tolist(), "shape", found.shape, "argmax", found.argmax())
if not np.isnan(found.ravel()[2]) or found.argmax() != 2 or found.shape != (3, 1):
    raise SystemExit("CHANGED: infinities or the shape now survive")
print("SEEN: rule a class out with finfo.min, and send a batch as (1, n); NaN and infinity are one thing on this road.")
PY
