#!/usr/bin/env bash
# sentence-transformers: StaticEmbedding says that max_seq_length is infinite, and cuts each text at the truncation that the tokenizer.json holds.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["[UNK]", "[PAD]", "guten", "Tag", "schöne", "Welt"]
vectors = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
moved = {}
for limit in (None, 128):
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]")
    if limit:
        tokenizer.enable_truncation(limit)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=vectors)], device="cpu")
    start, whole = model.encode(["guten Tag " * 64, "guten Tag " * 64 + "schöne Welt " * 500])
    moved[limit] = float(np.abs(start - whole).max())
    print(f"truncation in tokenizer.json {limit}: max_seq_length {model.max_seq_length}, 1000 more words move the vector by {moved[limit]:.3f}")
print({name: version(name) for name in ("sentence-transformers", "transformers", "tokenizers")})
print("expected    the mean over all words of the text, as max_seq_length says; the padding of the file is switched off too")
if moved[None] == 0 or moved[128] != 0:
    raise SystemExit("CHANGED: the truncation of the file is not applied, or all texts are cut")
print("SEEN: tokenizer.json files of encoders often hold a truncation of 128 or 512. Call tokenizer.no_truncation() first.")
PY
