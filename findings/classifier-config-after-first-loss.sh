#!/usr/bin/env bash
# transformers: a classifier's saved config.json depends on whether this process has computed a loss; forward() writes problem_type into it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from pathlib import Path

import torch
import transformers

config = transformers.BertConfig(
    vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
)
model = transformers.BertForSequenceClassification(config).eval()
ids = torch.tensor([[1, 2, 3]])


def saved() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return Path(folder, "config.json").read_bytes()


before = saved()
with torch.no_grad():
    model(ids)
    answered = saved()
    model(ids, labels=torch.tensor([0]))
after = saved()
print("transformers", transformers.__version__)
print("expected    the same config.json before and after a pass without gradients")
print("an answer changes it:", answered != before, "  a loss changes it:", after != before)
print("new lines:", [line.strip() for line in after.decode().splitlines() if line not in before.decode().splitlines()])
if after == before or b"problem_type" not in after:
    raise SystemExit("CHANGED: forward() leaves the config alone")
print("SEEN: a training that is resumed behind its last step, or a merge of weights, saves another file than the run that it equals.")
PY
