#!/usr/bin/env bash
# model2vec: quantize_to="int8" keeps the codes and drops their scale: without normalisation the embeddings are hundreds of times as long, and no longer fit what was trained on the float ones.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet model2vec==0.10.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import tempfile
from importlib.metadata import version

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["[UNK]", "[PAD]", "guten", "Tag", "schöne", "Welt"]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
vectors = np.random.default_rng(0).normal(0, 0.05, (len(words), 64)).astype(np.float32)
texts = ["guten Tag", "schöne Welt"]
lengths = {}
with tempfile.TemporaryDirectory() as folder:
    StaticModel(vectors=vectors, tokenizer=tokenizer, config={"normalize": False}).save_pretrained(folder)
    for kind in ("float32", "float16", "int8"):
        found = StaticModel.from_pretrained(folder, quantize_to=kind).encode(texts)
        lengths[kind] = np.linalg.norm(found.astype(np.float64), axis=1)
        print(f"{kind:8} lengths of two embeddings {lengths[kind].round(3).tolist()}")
print({name: version(name) for name in ("model2vec", "tokenizers", "numpy")})
print("expected    the same vectors but for rounding: quantisation is offered to make a model smaller")
ratio = lengths["int8"] / lengths["float32"]
print("seen        int8 / float32", ratio.round(1).tolist(), "and 127 / the largest weight is", round(float(127 / np.abs(vectors).max()), 1))
if not np.allclose(lengths["float16"], lengths["float32"], rtol=0.01) or ratio.min() < 100:
    raise SystemExit("CHANGED: int8 embeddings have the length of the float ones")
print("SEEN: cosines hold; dot products, distances and a classifier trained on the float embeddings do not. Keep normalize=True.")
PY
