#!/usr/bin/env bash
# transformers: YaRN's "truncate": false has no effect where each kind of layers has rotary parameters of its own (ModernBERT, Gemma 3); where one set serves all (GTE), it has.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
import transformers
from transformers import GteConfig, GteModel, ModernBertConfig, ModernBertModel

SMALL = dict(
    vocab_size=50, hidden_size=48, num_attention_heads=3, num_hidden_layers=1, intermediate_size=64, max_position_embeddings=80,
    pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2
)  # fmt: skip


def yarn(**more: object) -> dict[str, object]:
    return {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 2.0, "original_max_position_embeddings": 80, **more}


def per_kind(rope: dict[str, object]) -> torch.Tensor:
    both = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
    model = ModernBertModel(ModernBertConfig(**SMALL, layer_types=["full_attention"], rope_parameters=both))
    return model.rotary_emb.full_attention_inv_freq


def one_set(rope: dict[str, object]) -> torch.Tensor:
    return GteModel(GteConfig(**SMALL, rope_parameters=rope)).rotary_emb.inv_freq


print("transformers", transformers.__version__)
print("expected    the same parameters give the same frequencies, and each of them counts")
seen = {}
for name, frequencies in (("GTE, one set", one_set), ("ModernBERT, per kind", per_kind)):
    base, exact, sharp = (frequencies(yarn(**more)) for more in ({}, {"truncate": False}, {"beta_slow": 0.5}))
    print(f"{name:22} truncate false: {[round(x, 4) for x in exact.tolist()[:4]]} instead of {[round(x, 4) for x in base.tolist()[:4]]}")
    seen[name] = (base, exact, sharp)
gte, modern = seen["GTE, one set"], seen["ModernBERT, per kind"]
if not torch.equal(gte[0], modern[0]) or torch.equal(gte[0], gte[1]) or torch.equal(modern[0], modern[2]) or not torch.equal(modern[0], modern[1]):
    raise SystemExit("CHANGED: truncate is read from the layer kind's own parameters")
print("SEEN: beta_slow beside it is read; truncate is looked for one level up, where the config holds only the kinds of layers.")
PY
