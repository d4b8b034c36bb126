#!/usr/bin/env bash
# gguf: an empty list or an empty text given to GGUFWriter is left out of the file without a word: the reader has no such key.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet gguf==0.19.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import numpy as np
from gguf import GGUFReader, GGUFWriter

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.gguf")
    writer = GGUFWriter(path, "bert")
    writer.add_array("tokenizer.ggml.merges", [])  # a Unigram tokenizer has none
    writer.add_string("bert.prompt.query", "")  # the model wants no prompt
    writer.add_string("bert.prompt.document", "passage: ")
    writer.add_uint32("bert.zero", 0)
    writer.add_bool("bert.no", False)
    writer.add_tensor("w", np.ones(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    keys = [key for key in GGUFReader(path).fields if not key.startswith("GGUF.")]
print("gguf", version("gguf"))
print("expected    all five keys, and general.architecture")
print("seen       ", keys)
if "tokenizer.ggml.merges" in keys or "bert.prompt.query" in keys or "bert.zero" not in keys or "bert.no" not in keys:
    raise SystemExit("CHANGED: empty values are now written")
print("SEEN: 'no prompt' and 'prompt not stated' are one thing after a round trip; zero and False are kept.")
PY
