#!/usr/bin/env bash
# semantic-text-splitter and semchunk count tokens after the truncation that a tokenizer.json holds: with a capacity above it (128 in MiniLM's files) the whole text is one chunk.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet semantic-text-splitter==0.33.1 semchunk==4.1.1 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from semantic_text_splitter import TextSplitter
from semchunk import chunkerify
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["guten", "Tag", "schöne", "Welt"]
plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
plain.pre_tokenizer = pre_tokenizers.Whitespace()
truncating = Tokenizer.from_str(plain.to_str())
truncating.enable_truncation(128)
text = " ".join(words * 250)
largest = {}
for name, tokenizer in {"no truncation": plain, "truncation 128": truncating}.items():
    for capacity in (100, 256):
        found = {
            "semantic-text-splitter": TextSplitter.from_huggingface_tokenizer(tokenizer, capacity).chunks(text),
            "semchunk": chunkerify(tokenizer, capacity)(text),
        }
        for library, chunks in found.items():
            largest[library, name, capacity] = max(len(chunk.split()) for chunk in chunks)
            print(f"{library:22} {name:14} capacity {capacity}: chunks {len(chunks):2}, largest {largest[library, name, capacity]} words")
print({name: version(name) for name in ("semantic-text-splitter", "semchunk", "tokenizers")})
print("expected    no chunk of the text of 1000 words holds more than the capacity")
for library in ("semantic-text-splitter", "semchunk"):
    if largest[library, "no truncation", 256] > 256 or largest[library, "truncation 128", 100] > 100:
        raise SystemExit(f"CHANGED: {library}'s chunks are larger than the capacity without truncation too")
    if largest[library, "truncation 128", 256] <= 256:
        raise SystemExit(f"CHANGED: {library} leaves the truncation of the file out of the count")
print("SEEN: an encoder reads the first tokens of such a chunk and drops the rest. Call tokenizer.no_truncation() first.")
PY
