#!/usr/bin/env bash
# tritonclient sends None and NaN in a BYTES input as the texts "None" and "nan": a missing text is embedded, not refused.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tritonclient[http]==2.73.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import tritonclient.utils as utils

texts = np.array(["hello", None, float("nan"), 3], object)  # a pandas column with gaps
seen = utils.deserialize_bytes_tensor(utils.serialize_byte_tensor(texts).item()).tolist()
try:
    utils.serialize_byte_tensor(np.array(["hello", "you"]))  # a plain numpy text array
    plain = "accepted"
except Exception as error:
    plain = f"{type(error).__name__}: {error}"
print("tritonclient", version("tritonclient"), "numpy", np.__version__)
print("expected    an error for None and NaN; a plain text array is fine")
print("seen       ", seen)
print("plain array", plain)
if seen != [b"hello", b"None", b"nan", b"3"] or not plain.startswith("InferenceServerException"):
    raise SystemExit("CHANGED: missing texts are now refused")
print("SEEN: rows without text get the embedding of the word 'None' or 'nan' and cluster together.")
PY
