#!/usr/bin/env bash
# model2vec and sentence-transformers' StaticEmbedding read one folder differently: the first leaves unknown tokens out of the mean, the second averages the vector of [UNK].
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 tokenizers==0.23.3 model2vec==0.10.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version

import numpy as np
from model2vec import StaticModel
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["[UNK]", "[PAD]", "guten", "Tag", "schöne", "Welt"]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
vectors = np.random.default_rng(0).normal(size=(len(words), 16)).astype(np.float32)
texts = ["guten Tag", "guten Tag 🙂", "世界"]
with tempfile.TemporaryDirectory() as folder:
    StaticModel(vectors=vectors, tokenizer=tokenizer, config={"normalize": False}).save_pretrained(folder)
    first = StaticModel.from_pretrained(folder).encode(texts)
    second = SentenceTransformer(folder, device="cpu").encode(texts)
cosines = []
for text, one, two in zip(texts, first, second):
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(two))
    cosines.append(float(one @ two) / max(lengths[0] * lengths[1], 1e-9))
    print(f"{text!r:14} cosine of the two {cosines[-1]:.3f}, lengths {lengths[0]:.3f} and {lengths[1]:.3f}")
print({name: version(name) for name in ("model2vec", "sentence-transformers", "tokenizers")})
print("expected    cosine 1: model2vec writes the modules.json by which sentence-transformers loads its folder")
if cosines[0] < 0.9999 or cosines[1] > 0.99 or np.any(first[2]) or not np.any(second[2]):
    raise SystemExit("CHANGED: both treat unknown tokens in the same way")
print("SEEN: vectors of one library do not match an index made with the other for texts with an emoji or a rare sign.")
PY
