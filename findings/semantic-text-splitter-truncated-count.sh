#!/usr/bin/env bash
# semantic-text-splitter counts tokens after the truncation that a tokenizer.json holds: with a capacity above it (128 in MiniLM's files) the whole text is one chunk.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet semantic-text-splitter==0.33.1 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from semantic_text_splitter import TextSplitter
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["guten", "Tag", "schöne", "Welt"]
plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
plain.pre_tokenizer = pre_tokenizers.Whitespace()
truncating = Tokenizer.from_str(plain.to_str())
truncating.enable_truncation(128)
text = " ".join(words * 250)
seen = {}
for name, tokenizer in {"no truncation": plain, "truncation 128": truncating}.items():
    for capacity in (100, 256):
        chunks = TextSplitter.from_huggingface_tokenizer(tokenizer, capacity).chunks(text)
        seen[name, capacity] = [len(chunk.split()) for chunk in chunks]
        print(f"{name:14} capacity {capacity}: {len(chunks):2} chunks, words in them {seen[name, capacity][:4]}")
print({name: version(name) for name in ("semantic-text-splitter", "tokenizers")})
print("expected    no chunk of the text of 1000 words holds more than the capacity")
if max(seen["no truncation", 256]) > 256 or max(seen["truncation 128", 100]) > 100:
    raise SystemExit("CHANGED: chunks are larger than the capacity without truncation too")
if max(seen["truncation 128", 256]) <= 256:
    raise SystemExit("CHANGED: the truncation of the file is left out of the count")
print("SEEN: an encoder reads the first tokens of such a chunk and drops the rest. Call tokenizer.no_truncation() first.")
PY
