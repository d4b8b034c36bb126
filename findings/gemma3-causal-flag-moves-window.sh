#!/usr/bin/env bash
# transformers: is_causal=false in the config of a bidirectional Gemma 3 (EmbeddingGemma's class), which is so anyway, widens its sliding window by a token on each side.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import Gemma3TextConfig, Gemma3TextModel

WINDOW = dict(
    vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
    intermediate_size=48, layer_types=["sliding_attention"], sliding_window=8, use_bidirectional_attention=True,
    attn_implementation="eager",
)


def seen(**options) -> list[int]:
    """Which tokens the tenth one attends to."""
    torch.manual_seed(0)
    model = Gemma3TextModel(Gemma3TextConfig(**WINDOW, **options)).eval()
    with torch.no_grad():
        [weights] = model(torch.arange(2, 22)[None], output_attentions=True).attentions
    return torch.nonzero(weights[0, 0, 10]).flatten().tolist()


plain, told = seen(), seen(is_causal=False)
print("transformers", transformers.__version__, "torch", torch.__version__)
print("expected    the same: attention of both directions is not causal")
print("seen        without the line", plain, " with is_causal=false", told)
if plain == told:
    raise SystemExit("CHANGED: both have the same window")
print("SEEN: embeddings of long texts differ from those of the same weights without the line; nothing is said.")
PY
