#!/usr/bin/env bash
# tokenizers: after its NFC or NFKC step the offsets of a composed character cover only the first of the characters it was made of.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import unicodedata

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

text = unicodedata.normalize("NFD", "서울 cafe é")
tokenizer = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
words, begin = [], 0
for word in text.split(" "):
    words.append((begin, begin + len(word)))
    begin += len(word) + 1
seen = {}
for name in ("NFC", "NFKC"):
    tokenizer.normalizer = getattr(normalizers, name)()
    seen[name] = tokenizer.encode(text).offsets
tokenizer.normalizer = None
none = tokenizer.encode(text).offsets
print("tokenizers", tokenizers.__version__)
print("decomposed text", ascii(text))
print("expected   ", words, "with and without a normalizer")
print("seen        none", none, "|", " | ".join(f"{name} {found}" for name, found in seen.items()))
for a, b in seen["NFC"]:
    print("           ", ascii(text[a:b]))
if none != words or any(found == words for found in seen.values()):
    raise SystemExit("CHANGED: offsets now cover all characters of a composed one")
print("SEEN: entity spans of decomposed Korean, Vietnamese or accented text end inside a letter; compose the text first.")
PY
