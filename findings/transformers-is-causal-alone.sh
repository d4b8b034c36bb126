#!/usr/bin/env bash
# transformers: with `is_causal: true` in its config an encoder (DistilBERT, BERT, XLM-R, ModernBERT, EuroBERT) sees backwards alone where a text is by itself, and both ways where the batch is padded.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
"$tmp/venv/bin/python" - <<'PY'
import torch
import transformers

transformers.logging.set_verbosity_error()
SIZES = dict(
    vocab_size=97, hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=48,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, is_causal=True,
)
DISTIL = dict(vocab_size=97, dim=32, n_heads=2, n_layers=2, hidden_dim=48, is_causal=True)
KINDS = {
    "DistilBert": DISTIL,
    "Bert": SIZES,
    "XLMRoberta": SIZES,
    "ModernBert": SIZES | dict(cls_token_id=1, sep_token_id=2),
    "EuroBert": SIZES,
}


def looks_ahead(kind: str) -> tuple[bool, bool]:
    """Whether the first of four tokens changes with the last one: alone, and beside a longer text."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    model = getattr(transformers, f"{kind}Model")(config).eval()
    alone, beside = [], []
    for last in (8, 80):
        text = torch.tensor([[5, 6, 7, last]])
        batch = torch.tensor([[5, 6, 7, last, 0], [9, 9, 9, 9, 9]])
        mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
        with torch.no_grad():
            alone.append(model(text, attention_mask=torch.ones_like(text)).last_hidden_state[0, 0])
            beside.append(model(batch, attention_mask=mask).last_hidden_state[0, 0])
    return tuple(bool((a - b).abs().max() > 1e-6) for a, b in (alone, beside))


print("transformers", transformers.__version__, "torch", torch.__version__)
print("expected    whichever it is, a text sees the same alone and in a batch")
seen = {kind: looks_ahead(kind) for kind in KINDS}
for kind, (alone, beside) in seen.items():
    print(f"seen        {kind:11} sees ahead alone: {alone}, in a padded batch: {beside}")
if any(found != (False, True) for found in seen.values()):
    raise SystemExit("CHANGED: a class sees the same in both")
print("SEEN: an encoder scored in padded batches answers a single text otherwise; nothing is said.")
PY
