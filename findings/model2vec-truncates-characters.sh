#!/usr/bin/env bash
# model2vec cuts a text by characters (512 x the median token length of the vocabulary) before it counts tokens.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet model2vec==0.10.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, pre_tokenizers

long = ["Geschwindigkeitsbegrenzung", "Bundesverfassungsgericht"]
vocab = {"[UNK]": 0, "[PAD]": 1, "a": 2, "im": 3, "um": 4, "zu": 5, "das": 6, long[0]: 7, long[1]: 8}
tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
model = StaticModel(np.eye(len(vocab), dtype=np.float32), tokenizer, normalize=False)
text = " ".join([long[0]] * 200 + [long[1]] * 200)
default, whole = model.encode(text), model.encode(text, max_length=None)
print("model2vec", version("model2vec"))
print("text of 400 tokens; default max_length is 512 tokens, so nothing should be cut")
print("expected    share of the two words 0.5 and 0.5")
print("seen       ", default[7], default[8], "; with max_length=None", whole[7], whole[8])
if whole[8] != 0.5 or default[8] == 0.5:
    raise SystemExit("CHANGED: a text of fewer tokens than max_length is no longer cut")
print("SEEN: languages with longer words than the vocabulary's median lose the end of a text below the limit.")
PY
