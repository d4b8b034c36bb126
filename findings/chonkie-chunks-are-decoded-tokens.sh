#!/usr/bin/env bash
# chonkie: TokenChunker returns decoded tokens, not the text: an uncased BERT tokenizer's chunks lose capitals, accents and unknown words, offsets do not fit, and a truncation in tokenizer.json ends the document.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet chonkie==1.7.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from chonkie import TokenChunker
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

pieces = ["[UNK]", "in", "koln", "steht", "der", "dom", ",", "am", "rhein", "."]
plain = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
plain.normalizer = normalizers.BertNormalizer(lowercase=True)
plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
plain.decoder = decoders.WordPiece()
truncating = Tokenizer.from_str(plain.to_str())
truncating.enable_truncation(8)
text = "In Köln steht der Dom, am Rhein. Straßburg am Rhein."
found = {}
for name, tokenizer in {"plain": plain, "truncation 8": truncating}.items():
    found[name] = TokenChunker(tokenizer=tokenizer, chunk_size=6, chunk_overlap=0).chunk(text)
    for chunk in found[name]:
        print(f"{name:12} {chunk.text!r:32} text[start:end] {text[chunk.start_index : chunk.end_index]!r}")
print({name: version(name) for name in ("chonkie", "tokenizers")}, "text", repr(text))
print("expected    pieces of the text, as the encoding's offsets give them, that together are the text")
texts = [chunk.text for chunk in found["plain"]]
if texts[0] != "in koln steht der dom," or not any("[UNK]" in piece for piece in texts):
    raise SystemExit("CHANGED: chunks are cut from the text")
if sum(chunk.token_count for chunk in found["truncation 8"]) != 8:
    raise SystemExit("CHANGED: the truncation of the file is left out")
print("SEEN: a cased or multilingual encoder gets another text than the document. Cut by encoding.offsets after no_truncation().")
PY
