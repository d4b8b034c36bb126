#!/usr/bin/env bash
# transformers: save_pretrained of GTE writes other tensor names than state_dict(), and for a head model the names of neither spelling.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 safetensors==0.8.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers
from safetensors import safe_open
from transformers import GteConfig, GteForTokenClassification, GteModel

transformers.utils.logging.disable_progress_bar()
config = GteConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=24, num_labels=3
)  # fmt: skip
found = {}
for cls in (GteModel, GteForTokenClassification):
    model = cls(config)
    for original in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, **({} if original else {"save_original_format": False}))
            with safe_open(os.path.join(folder, "model.safetensors"), "np") as file:
                found[cls.__name__, original] = set(file.keys())
    found[cls.__name__, None] = set(model.state_dict())
print("transformers", transformers.__version__)
print("expected    the file holds the names of state_dict(): the class is the library's own")
for name in ("GteModel", "GteForTokenClassification"):
    file, own = found[name, True], found[name, None]
    print(f"{name:25s} {len(file & own)} of {len(own)} names agree; e.g. {min(n for n in file if 'qkv' in n)}")
    print(f"{'':25s} with save_original_format=False: {len(found[name, False] & own)} of {len(own)}")
same = [found[n, True] == found[n, None] or found[n, False] != found[n, None] for n in ("GteModel", "GteForTokenClassification")]
if any(same) or not any(n.startswith("gte.encoder.layer.") for n in found["GteForTokenClassification", True]):
    raise SystemExit("CHANGED: GTE is saved under the names of its modules, or under the old names with their prefix")
print("SEEN: the old checkpoints say new.encoder.layer (remote code), the class says gte.layers; the file says gte.encoder.layer.")
PY
