#!/usr/bin/env bash
# sentence-transformers: truncate_dim cuts after the model's own Normalize module, so the vectors no longer have length 1.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

torch.manual_seed(0)
vocab = {p: i for i, p in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "guten", "Tag"])}
tokenizer = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    config = BertConfig(vocab_size=6, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(path)
    model = SentenceTransformer(modules=[modules.Transformer(path), modules.Pooling(32), modules.Normalize()])
    length = {d: float(np.linalg.norm(model.encode(["guten Tag"], truncate_dim=d))) for d in (32, 8)}
    again = float(np.linalg.norm(model.encode(["guten Tag"], truncate_dim=8, normalize_embeddings=True)))
print("sentence-transformers", sentence_transformers.__version__)
print("expected    length 1 for each truncate_dim: the model ends in Normalize")
print(f"seen        32 dimensions {length[32]:.3f}, 8 dimensions {length[8]:.3f}; with normalize_embeddings=True {again:.3f}")
if abs(length[32] - 1) > 1e-4 or abs(length[8] - 1) < 1e-3 or abs(again - 1) > 1e-4:
    raise SystemExit("CHANGED: truncated embeddings are normalised again")
print("SEEN: the dot product in a vector store is no cosine any more, and its thresholds no longer hold.")
PY
