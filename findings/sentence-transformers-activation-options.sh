#!/usr/bin/env bash
# sentence-transformers: a saved Dense or CrossEncoder keeps the class of its activation alone; LeakyReLU(0.5) comes back with slope 0.01.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
"$tmp/venv/bin/python" - <<'PY'
import tempfile

import sentence_transformers
import torch
from sentence_transformers.sentence_transformer.modules import Dense

x = torch.linspace(-2, 2, 64).reshape(8, 8)
moved = {}
for activation in (torch.nn.Tanh(), torch.nn.LeakyReLU(0.5), torch.nn.ELU(2.0), torch.nn.GELU(approximate="tanh")):
    torch.manual_seed(0)
    made = Dense(8, 8, activation_function=activation)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        made.save(folder)
        before = made({"sentence_embedding": x})["sentence_embedding"]
        after = Dense.load(folder)({"sentence_embedding": x})["sentence_embedding"]
    moved[str(activation)] = (before - after).abs().max().item()
print("sentence-transformers", sentence_transformers.__version__, "torch", torch.__version__)
print("expected    what is saved answers as it did, or saving says that it cannot")
for name, value in moved.items():
    print(f"{name:30} moves by {value:.5f}")
tanh, *others = moved.values()
if tanh != 0 or not all(others):
    raise SystemExit("CHANGED: the options of an activation are saved")
print("SEEN: a head that was trained with another slope loses it on the way to whoever loads the folder.")
PY
