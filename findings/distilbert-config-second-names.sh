#!/usr/bin/env bash
# transformers: in a DistilBERT config.json num_attention_heads overrides n_heads without a word, and the weights fit any number of heads; num_hidden_layers overrides n_layers, and layers are left out.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import json
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import DistilBertConfig, DistilBertModel

torch.manual_seed(0)
config = DistilBertConfig(vocab_size=40, dim=48, hidden_dim=64, n_heads=4, n_layers=2, max_position_embeddings=16)
model = DistilBertModel(config).eval()
with torch.no_grad():  # as far from uniform attention as a trained model's
    for layer in model.transformer.layer:
        layer.attention.q_lin.weight.mul_(40)
        layer.attention.k_lin.weight.mul_(40)
ids = torch.arange(2, 12)[None]
answers, sizes = {}, {}
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    path = Path(folder) / "config.json"
    saved = json.loads(path.read_text())
    for name, more in {"as saved": {}, "heads": {"num_attention_heads": 2}, "layers": {"num_hidden_layers": 1}}.items():
        path.write_text(json.dumps({**saved, **more}))
        loaded = DistilBertModel.from_pretrained(folder).eval()
        sizes[name] = loaded.config.n_heads, len(loaded.transformer.layer)
        with torch.no_grad():
            answers[name] = loaded(ids).last_hidden_state
moved = {name: (answer - answers["as saved"]).abs().max().item() for name, answer in answers.items()}
print("transformers", transformers.__version__, "torch", torch.__version__)
print("expected    the class's own names (n_heads 4, n_layers 2) decide, or two values are an error")
print("seen        (heads, layers):", sizes, " answers move by", {name: round(value, 3) for name, value in moved.items()})
if sizes["heads"][0] == 4 or sizes["layers"][1] == 2:
    raise SystemExit("CHANGED: the class's own names decide, or two values are refused")
print("SEEN: a tool that writes the common names beside DistilBERT's own changes the model; weights of any head count fit.")
PY
