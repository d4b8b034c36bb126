#!/usr/bin/env bash
# transformers: DebertaV2's pos_att_type softens attention where relative_attention is off, and a term it lacks is ignored.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import DebertaV2Config, DebertaV2Model

SIZES = dict(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)


def answer(**options) -> torch.Tensor:
    torch.manual_seed(0)
    model = DebertaV2Model(DebertaV2Config(**SIZES, **options)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = torch.arange(weight.numel(), dtype=torch.float32)
            weight.copy_(torch.sin(values + len(name)).view(weight.shape))
        return model(torch.arange(2, 9)[None]).last_hidden_state


off = (answer(relative_attention=False) - answer(relative_attention=False, pos_att_type=["c2p", "p2c"])).abs().max().item()
terms = {"relative_attention": True, "max_relative_positions": 8}
extra = (answer(**terms, pos_att_type=["c2p"]) - answer(**terms, pos_att_type=["c2p", "p2p", "typo"])).abs().max().item()
print("transformers", transformers.__version__)
print("expected    without relative attention its terms are read by nothing (0); a term that does not exist is refused")
print(f"seen        without relative attention the terms move the answer by {off:.4f}; unknown terms: no error, difference {extra:.4f}")
if off < 1e-4 or extra != 0:
    raise SystemExit("CHANGED: the terms are left out with relative attention off, or unknown ones have an effect")
print("SEEN: each c2p or p2c named enlarges the divisor of the scores, also where no such product is added.")
PY
